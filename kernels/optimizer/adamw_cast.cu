#include "kernels/base/fp8.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/optimizer/adamw_update.cuh"
#include "kernels/quant/arguments.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512;

// A block of threads per 128x128 block: thread t has 8 columns of rows t/16, t/16 + 32, ...
template <class Moment>
__global__ __launch_bounds__(kThreads, 2) void adamw_cast_kernel(AdamWCastParams p,
                                                                 AdamWFactors f) {
  constexpr int kRowLanes = kTile / kVec, kRowsAtOnce = kThreads / kRowLanes;
  constexpr int kRows = kTile / kRowsAtOnce;  // of a thread
  const int64_t row0 = int64_t{blockIdx.y} * kTile + threadIdx.x / kRowLanes;
  const int64_t col = int64_t{blockIdx.x} * kTile + threadIdx.x % kRowLanes * kVec;
  const int64_t first = (int64_t{blockIdx.z} * p.rows + row0) * p.cols + col;
  const int64_t step = kRowsAtOnce * p.cols;
  const float clip = clip_factor(p.step, f);
  uint4 rounded[kRows];
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    rounded[i] = uint4{};
    if (row0 + i * kRowsAtOnce < p.rows && col < p.cols) {
      float weight[kVec];
      adamw_update<Moment>(p.step, f, clip, first + i * step, weight);
      rounded[i] = pack8(weight);
    }
    largest = fmaxf(largest, amax(rounded[i]));
  }
  const float scale = tile_scale(block_max<kThreads>(largest));
  const Inverse inverse = tile_inverse(scale);
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    if (row0 + i * kRowsAtOnce < p.rows && col < p.cols)
      store_quantised(p.out.data + first + i * step, rounded[i], inverse);
  if (threadIdx.x == 0)
    p.out.scales[(int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = scale;
}

}  // namespace

Status adamw_cast(const AdamWCastParams& p, cudaStream_t stream) {
  constexpr const char* kName = "adamw_cast";
  const bool used = p.batch > 0 && p.rows > 0 && p.cols > 0;
  if (Status s = check(
          kName, {at_least("batch", p.batch, 0), at_least("rows", p.rows, 0),
                  multiple_of("cols", p.cols, 16), equal("out.rows", p.out.rows, p.rows),
                  equal("out.cols", p.out.cols, p.cols), at_most("batch", p.batch, kMaxGridYz),
                  at_most("rows/128", tiles(p.rows), kMaxGridYz),
                  vector_pointer("out.data", p.out.data, used),
                  pointer("out.scales", p.out.scales, used)});
      !s.ok())
    return s;
  AdamWCastParams all = p;
  all.step.n = p.batch * p.rows * p.cols;
  all.step.weights_out = nullptr;
  if (Status s = check_adamw(kName, all.step); !s.ok() || !used) return s;
  const auto kernel =
      p.step.moments == MomentType::kBf16 ? adamw_cast_kernel<bf16> : adamw_cast_kernel<float>;
  const dim3 grid(static_cast<unsigned>(tiles(p.cols)), static_cast<unsigned>(tiles(p.rows)),
                  static_cast<unsigned>(p.batch));
  kernel<<<grid, kThreads, 0, stream>>>(all, adamw_factors(all.step));
  return launched(kName);
}

}  // namespace orrery::kernels
