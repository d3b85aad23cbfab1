#include "kernels/activation/swiglu.cuh"
#include "kernels/activation/swiglu.h"
#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"

namespace orrery::kernels {
namespace {

// An item is one vector of the output.
__global__ void __launch_bounds__(kItemThreads) swiglu_kernel(SwiGluParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.w / kVec);
  const uint32_t row = item / chunks, chunk = item % chunks;
  float act[kVec];
  load_act(p.gate_up + row * (2 * p.w) + chunk * kVec, p.w, act);
  store8(p.out + static_cast<int64_t>(item) * kVec, act);
}

// An item is one vector of dact.
__global__ void __launch_bounds__(kItemThreads)
    backward_kernel(SwiGluBackwardParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const uint32_t chunks = static_cast<uint32_t>(p.w / kVec);
  const uint32_t row = item / chunks, chunk = item % chunks;
  const int64_t gate_at = row * (2 * p.w) + chunk * kVec;
  const int64_t act_at = static_cast<int64_t>(item) * kVec;
  const float weight = p.row_weight != nullptr ? p.row_weight[row] : 1.0f;
  float gate[kVec], up[kVec], dact[kVec], act[kVec];
  load8(p.gate_up + gate_at, gate);
  load8(p.gate_up + gate_at + p.w, up);
  load8(p.dact + act_at, dact);
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    const float s = sigmoid(gate[j]), silu = gate[j] * s, d = weight * dact[j];
    act[j] = weight * silu * up[j];
    gate[j] = d * up[j] * s * (1 + gate[j] * (1 - s));
    up[j] = d * silu;
  }
  if (p.act_out != nullptr) store8(p.act_out + act_at, act);
  store8(p.dgate_up + gate_at, gate);
  store8(p.dgate_up + gate_at + p.w, up);
}

// One warp per row.
__global__ void __launch_bounds__(kItemThreads)
    weight_backward_kernel(SwiGluWeightBackwardParams p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kItemThreads / 32) + threadIdx.x / 32;
  if (row >= p.rows || p.row_slot[row] < 0) return;
  const int lane = threadIdx.x % 32;
  float dot = 0;
#pragma unroll 4
  for (int64_t c = lane * kVec; c < p.w; c += 32 * kVec) {
    float act[kVec], dact[kVec];
    load8(p.act + row * p.w + c, act);
    load8(p.dact + row * p.w + c, dact);
#pragma unroll
    for (int j = 0; j < kVec; ++j) dot += act[j] * dact[j];
  }
  dot = warp_reduce(dot, Sum{});
  const float weight = p.row_weight[row];
  if (lane == 0) p.out[p.row_slot[row]] = weight == 0 ? 0.0f : dot / weight;
}

template <class Params>
Status check_shape(const char* kernel, const Params& p) {
  return check(kernel,
               {{p.rows >= 0 && p.rows <= kMaxItems, "rows is negative or above 2^31 - 1"},
                {p.w >= 0 && p.w % kVec == 0, "w is not a multiple of 8"},
                {p.rows == 0 || p.w / kVec <= kMaxItems / p.rows, "rows · w is above 2^34"}});
}

}  // namespace

Status swiglu(const SwiGluParams& p, cudaStream_t stream) {
  if (Status bad = check_shape("swiglu", p); !bad.ok()) return bad;
  const int64_t items = p.rows * (p.w / kVec);
  Status bad = check(
      "swiglu", {{items == 0 || (p.gate_up && p.out), "gate_up or out is null"},
                 {aligned(p.gate_up) && aligned(p.out), "gate_up or out is not 16-byte aligned"}});
  if (!bad.ok() || items == 0) return bad;
  swiglu_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched("swiglu");
}

Status swiglu_backward(const SwiGluBackwardParams& p, cudaStream_t stream) {
  if (Status bad = check_shape("swiglu_backward", p); !bad.ok()) return bad;
  const int64_t items = p.rows * (p.w / kVec);
  Status bad = check(
      "swiglu_backward",
      {{items == 0 || (p.gate_up && p.dact && p.dgate_up), "gate_up, dact or dgate_up is null"},
       {aligned(p.gate_up) && aligned(p.dact) && aligned(p.act_out) && aligned(p.dgate_up),
        "gate_up, dact, act_out or dgate_up is not 16-byte aligned"}});
  if (!bad.ok() || items == 0) return bad;
  backward_kernel<<<item_blocks(items), kItemThreads, 0, stream>>>(p, static_cast<uint32_t>(items));
  return launched("swiglu_backward");
}

Status swiglu_weight_backward(const SwiGluWeightBackwardParams& p, cudaStream_t stream) {
  if (Status bad = check_shape("swiglu_weight_backward", p); !bad.ok()) return bad;
  Status bad = check("swiglu_weight_backward",
                     {{p.rows == 0 || (p.row_weight && p.row_slot && p.out),
                       "row_weight, row_slot or out is null"},
                      {p.rows == 0 || p.w == 0 || (p.act && p.dact), "act or dact is null"},
                      {aligned(p.act) && aligned(p.dact), "act or dact is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  weight_backward_kernel<<<item_blocks(p.rows * 32), kItemThreads, 0, stream>>>(p);
  return launched("swiglu_weight_backward");
}

}  // namespace orrery::kernels
