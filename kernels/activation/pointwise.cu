#include "kernels/activation/pointwise.h"
#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/vec.cuh"

namespace orrery::kernels {
namespace {

constexpr float kSqrtHalf = 0.70710678f;
constexpr float kSqrtTwoOverPi = 0.79788456f;
constexpr float kInvSqrtTwoPi = 0.39894228f;
constexpr float kCubic = 0.044715f;

struct ValueAndSlope {
  float value, slope;
};

template <Pointwise f>
__device__ ValueAndSlope evaluate(float x) {
  if constexpr (f == Pointwise::kGelu) {
    const float phi = 0.5f * (1 + erff(x * kSqrtHalf));
    return {x * phi, phi + x * kInvSqrtTwoPi * __expf(-0.5f * x * x)};
  } else if constexpr (f == Pointwise::kGeluTanh) {
    const float t = tanhf(kSqrtTwoOverPi * (x + kCubic * x * x * x));
    const float inner = kSqrtTwoOverPi * (1 + 3 * kCubic * x * x);
    return {0.5f * x * (1 + t), 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * inner};
  } else {
    const float positive = fmaxf(x, 0);
    return {positive * positive, 2 * positive};
  }
}

// An item is one vector.
template <Pointwise f>
__global__ void __launch_bounds__(kItemThreads) forward_kernel(PointwiseParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const int64_t at = static_cast<int64_t>(item) * kVec;
  float x[kVec];
  load8(p.x + at, x);
#pragma unroll
  for (int j = 0; j < kVec; ++j) x[j] = evaluate<f>(x[j]).value;
  store8(p.out + at, x);
}

template <Pointwise f>
__global__ void __launch_bounds__(kItemThreads)
    backward_kernel(PointwiseBackwardParams p, uint32_t items) {
  const uint32_t item = item_index();
  if (item >= items) return;
  const int64_t at = static_cast<int64_t>(item) * kVec;
  const uint32_t row = item / static_cast<uint32_t>(p.w / kVec);
  const float k = p.row_weight != nullptr ? p.row_weight[row] : 1;
  float x[kVec], d[kVec], act[kVec];
  load8(p.x + at, x);
  load8(p.dact + at, d);
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    const ValueAndSlope v = evaluate<f>(x[j]);
    act[j] = k * v.value;
    d[j] *= k * v.slope;
  }
  if (p.act_out != nullptr) store8(p.act_out + at, act);
  store8(p.dx + at, d);
}

}  // namespace

Status pointwise(const PointwiseParams& p, cudaStream_t stream) {
  const bool empty = p.rows == 0 || p.w == 0;
  Status bad =
      check("pointwise", {{p.rows >= 0 && p.w >= 0, "rows or w is negative"},
                          {p.w % kVec == 0, "w is not a multiple of 8"},
                          {empty || p.w / kVec <= kMaxItems / p.rows, "rows · w is above 2^34"},
                          {empty || (p.x && p.out), "x or out is null"},
                          {aligned(p.x) && aligned(p.out), "x or out is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const auto items = static_cast<uint32_t>(p.rows * (p.w / kVec));
  const unsigned blocks = item_blocks(items);
  switch (p.f) {
    case Pointwise::kGelu:
      forward_kernel<Pointwise::kGelu><<<blocks, kItemThreads, 0, stream>>>(p, items);
      break;
    case Pointwise::kGeluTanh:
      forward_kernel<Pointwise::kGeluTanh><<<blocks, kItemThreads, 0, stream>>>(p, items);
      break;
    case Pointwise::kSquaredRelu:
      forward_kernel<Pointwise::kSquaredRelu><<<blocks, kItemThreads, 0, stream>>>(p, items);
      break;
  }
  return launched("pointwise");
}

Status pointwise_backward(const PointwiseBackwardParams& p, cudaStream_t stream) {
  const bool empty = p.rows == 0 || p.w == 0;
  Status bad = check("pointwise_backward",
                     {{p.rows >= 0 && p.w >= 0, "rows or w is negative"},
                      {p.w % kVec == 0, "w is not a multiple of 8"},
                      {empty || p.w / kVec <= kMaxItems / p.rows, "rows · w is above 2^34"},
                      {empty || (p.x && p.dact && p.dx), "x, dact or dx is null"},
                      {aligned(p.x) && aligned(p.dact) && aligned(p.act_out) && aligned(p.dx),
                       "x, dact, act_out or dx is not 16-byte aligned"}});
  if (!bad.ok() || empty) return bad;
  const auto items = static_cast<uint32_t>(p.rows * (p.w / kVec));
  const unsigned blocks = item_blocks(items);
  switch (p.f) {
    case Pointwise::kGelu:
      backward_kernel<Pointwise::kGelu><<<blocks, kItemThreads, 0, stream>>>(p, items);
      break;
    case Pointwise::kGeluTanh:
      backward_kernel<Pointwise::kGeluTanh><<<blocks, kItemThreads, 0, stream>>>(p, items);
      break;
    case Pointwise::kSquaredRelu:
      backward_kernel<Pointwise::kSquaredRelu><<<blocks, kItemThreads, 0, stream>>>(p, items);
      break;
  }
  return launched("pointwise_backward");
}

}  // namespace orrery::kernels
