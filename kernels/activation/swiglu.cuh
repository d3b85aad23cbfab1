// What the SwiGLU kernels share.
#pragma once

#include "kernels/base/vec.cuh"

namespace orrery::kernels {

__device__ inline float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

// Eight elements of act; `gate` points to their gates, of a row of gate_up that is 2w wide.
__device__ inline void load_act(const __nv_bfloat16* gate, int64_t w, float (&act)[kVec]) {
  float up[kVec];
  load8(gate, act);
  load8(gate + w, up);
#pragma unroll
  for (int j = 0; j < kVec; ++j) act[j] *= sigmoid(act[j]) * up[j];
}

}  // namespace orrery::kernels
