// What the SwiGLU kernels share.
#pragma once

#include "kernels/base/vec.cuh"

namespace orrery::kernels {

__device__ inline float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

// act of eight gates and ups.
__device__ inline void act_of(const uint4& gate, const uint4& up, float (&act)[kVec]) {
  float u[kVec];
  unpack8(gate, act);
  unpack8(up, u);
#pragma unroll
  for (int j = 0; j < kVec; ++j) act[j] *= sigmoid(act[j]) * u[j];
}

// Eight elements of act; `gate` points to their gates, of a row of gate_up that is 2w wide.
__device__ inline void load_act(const __nv_bfloat16* gate, int64_t w, float (&act)[kVec]) {
  act_of(*reinterpret_cast<const uint4*>(gate), *reinterpret_cast<const uint4*>(gate + w), act);
}

}  // namespace orrery::kernels
