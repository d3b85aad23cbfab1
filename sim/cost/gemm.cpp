#include "sim/cost/gemm.h"

#include <algorithm>
#include <array>

namespace orrery {
namespace {

constexpr int64_t kTileM = 128;
constexpr int64_t kSmallTile = 64;
constexpr int64_t kTileK = 128;
constexpr int64_t kTileN = 128;
constexpr std::array<int64_t, 2> kWideTiles = {192, 256};

const GemmKernelSpec& kernel_spec(const GpuSpec& gpu, GemmKernel kernel) {
  switch (kernel) {
    case GemmKernel::kFp8:
      return gpu.gemm_fp8;
    case GemmKernel::kFp8Wgrad:
      return gpu.gemm_fp8_wgrad;
    case GemmKernel::kBf16:
      break;
  }
  return gpu.gemm_bf16;
}

// The size of group g in the grouped dimension, `total` being that of all groups.
int64_t group_size(const GemmShape& s, int64_t total, int64_t g) {
  if (!s.group_sizes.empty()) return s.group_sizes[static_cast<std::size_t>(g)];
  return total / s.groups + (g < total % s.groups ? 1 : 0);
}

// Tiles of 128 (or 64) by 128 over all groups are row_tiles * ceil(n / tile_n), and each takes
// `k_blocks` blocks of 128 of the inner dimension on average, `max_k_blocks` at most.
struct Blocking {
  int64_t tile_m = 0;
  int64_t row_tiles = 0;
  double k_blocks = 0;
  int64_t max_k_blocks = 0;
};

Blocking block_rows(const GemmShape& s) {
  int64_t most = 0;
  for (int64_t g = 0; g < s.groups; ++g) most = std::max(most, group_size(s, s.m, g));
  Blocking b{.tile_m = most <= kSmallTile ? kSmallTile : kTileM,
             .k_blocks = static_cast<double>(ceil_div(s.k, kTileK)),
             .max_k_blocks = ceil_div(s.k, kTileK)};
  for (int64_t g = 0; g < s.groups; ++g) b.row_tiles += ceil_div(group_size(s, s.m, g), b.tile_m);
  return b;
}

Blocking block_inner(const GemmShape& s) {
  const int64_t tile_m = s.m <= kSmallTile ? kSmallTile : kTileM;
  int64_t sum = 0;
  int64_t most = 0;
  for (int64_t g = 0; g < s.groups; ++g) {
    const int64_t blocks = ceil_div(group_size(s, s.k, g), kTileK);
    sum += blocks;
    most = std::max(most, blocks);
  }
  return {.tile_m = tile_m,
          .row_tiles = s.groups * ceil_div(s.m, tile_m),
          .k_blocks = static_cast<double>(sum) / static_cast<double>(s.groups),
          .max_k_blocks = most};
}

GemmTiling price_tile(const GpuSpec& gpu, const GemmShape& s, const Blocking& b, int64_t tile_n,
                      int64_t sms) {
  const GemmKernelSpec& spec = kernel_spec(gpu, s.kernel);
  const double rate = sm_peak(gpu, spec.peak_TFLOPS.value).count() * spec.mainloop_efficiency.value;
  const double block_seconds = 2.0 * static_cast<double>(b.tile_m * tile_n * kTileK) / rate;
  const double overhead = spec.tile_overhead_us.value * 1e-6;
  GemmTiling t{.tile_m = b.tile_m, .tile_n = tile_n, .tiles = b.row_tiles * ceil_div(s.n, tile_n)};
  t.waves = ceil_div(t.tiles, sms);
  if (t.waves == 0) return t;
  t.seconds = std::max(static_cast<double>(t.waves) * (b.k_blocks * block_seconds + overhead),
                       static_cast<double>(b.max_k_blocks) * block_seconds + overhead);
  return t;
}

int64_t element_bytes(GemmKernel kernel) { return kernel == GemmKernel::kBf16 ? 2 : 1; }

int64_t output_bytes(GemmOutput output) {
  switch (output) {
    case GemmOutput::kFp32:
      return 4;
    case GemmOutput::kFp32Accumulate:
      return 8;
    case GemmOutput::kBf16:
      break;
  }
  return 2;
}

}  // namespace

Flops gemm_flops(const GemmShape& s) {
  return Flops(2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) *
               static_cast<double>(s.k));
}

Bytes gemm_bytes(const GemmShape& s) {
  const bool by_k = s.grouped == GroupedDim::kK;
  const int64_t operands = s.m * s.k + s.n * s.k * (by_k ? 1 : s.groups);
  const int64_t outputs = s.m * s.n * (by_k ? s.groups : 1);
  return Bytes(operands * element_bytes(s.kernel) + outputs * output_bytes(s.output));
}

GemmTiling gemm_tiling(const GpuSpec& gpu, const GemmShape& s, int64_t sms) {
  const Blocking b = s.grouped == GroupedDim::kK ? block_inner(s) : block_rows(s);
  GemmTiling best = price_tile(gpu, s, b, kTileN, sms);
  const auto take_if_faster = [&](const GemmTiling& t) {
    if (t.seconds < best.seconds) best = t;
  };
  if (s.kernel == GemmKernel::kBf16)
    for (const int64_t tile_n : kWideTiles) take_if_faster(price_tile(gpu, s, b, tile_n, sms));
  const GemmTiling narrow = price_tile(gpu, s, b, kSmallTile, sms);
  if (narrow.waves <= 1) take_if_faster(narrow);
  return best;
}

double gemm_seconds(const GpuSpec& gpu, const GemmShape& s, const GpuShare& share) {
  const double hbm =
      hbm_seconds(gpu, gemm_bytes(s), kernel_spec(gpu, s.kernel).hbm_efficiency.value, share);
  return gpu.kernel_fixed_us.value * 1e-6 + std::max(gemm_tiling(gpu, s, share.sms).seconds, hbm);
}

}  // namespace orrery
