#include "kernels/base/fp8.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/optimizer/adamw_update.cuh"
#include "kernels/quant/arguments.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32, kRows = kTile / kWarps;  // rows of a warp
static_assert(32 * kAdamWItem == kTile, "a warp has a row of a block");

// A block of threads per 128x128 block: warp w has rows w, w + kWarps, ... The next row is on its
// way while one is updated; loads that follow stores would wait for them.
template <class Moment>
__global__ __launch_bounds__(kThreads, 2) void adamw_cast_kernel(AdamWCastParams p,
                                                                 AdamWFactors f) {
  __shared__ Four<bf16> rounded[kRows][kThreads];  // each by its own thread, for fewer registers
  const int64_t row0 = int64_t{blockIdx.y} * kTile, col0 = int64_t{blockIdx.x} * kTile;
  const int64_t first = (int64_t{blockIdx.z} * p.rows + row0) * p.cols + col0;
  const AdamWArrays<Moment> arrays(p.step, first);
  fp8* out = p.out.data + first;
  const int warp = threadIdx.x / 32, col = threadIdx.x % 32 * kAdamWItem;
  const int rows = static_cast<int>(min(int64_t{kTile}, p.rows - row0));
  const int mine = col < p.cols - col0 ? (rows - warp + kWarps - 1) / kWarps : 0;
  const uint32_t start = warp * static_cast<uint32_t>(p.cols) + col;
  const uint32_t step = kWarps * static_cast<uint32_t>(p.cols);
  const float clip = clip_factor(p.step, f), keep = keep_factor(p.step, f, 0);
  AdamWItem<Moment> items[2];
  if (mine > 0) items[0].load(arrays, start);
  float largest = 0, weight[kAdamWItem];
  uint32_t at = start;
#pragma unroll 2
  for (int i = 0; i < kRows; ++i, at += step) {
    if (i + 1 < mine) items[(i + 1) % 2].load(arrays, at + step);
    if (i >= mine) continue;
    items[i % 2].update(arrays, at, f, clip, keep, weight);
    const auto kept = Four<bf16>::pack(weight);
    rounded[i][threadIdx.x] = kept;
    kept.unpack(weight);
    largest = fmaxf(largest, amax(weight));
  }
  const float scale = tile_scale(block_max<kThreads>(largest));
  const Inverse inverse = tile_inverse(scale);
  at = start;
#pragma unroll 2
  for (int i = 0; i < kRows; ++i, at += step) {
    if (i >= mine) continue;
    rounded[i][threadIdx.x].unpack(weight);
    *reinterpret_cast<uint32_t*>(out + at) = quantise4(weight, inverse);
  }
  if (threadIdx.x == 0)
    p.out.scales[(int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = scale;
}

}  // namespace

Status adamw_cast(const AdamWCastParams& p, cudaStream_t stream) {
  constexpr const char* kName = "adamw_cast";
  const bool used = p.batch > 0 && p.rows > 0 && p.cols > 0;
  if (Status s = check(
          kName,
          {at_least("batch", p.batch, 0), at_least("rows", p.rows, 0),
           multiple_of("cols", p.cols, 16), at_most("cols", p.cols, 1 << 24),
           equal("out.rows", p.out.rows, p.rows), equal("out.cols", p.out.cols, p.cols),
           at_most("batch", p.batch, kMaxGridYz), at_most("rows/128", tiles(p.rows), kMaxGridYz),
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
