#include "sim/cost/gemm.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/cost/power.h"

namespace orrery {

const std::string_view kGemmOutputNames[kGemmOutputs] = {"bf16", "bf16_accumulate", "fp32",
                                                         "fp32_accumulate"};

namespace {

constexpr int64_t kTileM = 128;
constexpr int64_t kSmallTile = 64;
constexpr int64_t kTileK = 128;
constexpr int64_t kTileN = 128;

struct TileShape {
  int64_t m, n;
};
// Of the library's kernels; the small ones only for products that they finish in one wave.
constexpr std::array<TileShape, 7> kLibraryTiles = {
    {{128, 128}, {128, 160}, {128, 176}, {128, 192}, {128, 256}, {256, 128}, {192, 128}}};
constexpr std::array<TileShape, 5> kSmallLibraryTiles = {
    {{64, 64}, {64, 128}, {128, 64}, {64, 256}, {256, 64}}};

// The fraction of the mainloop's rate that a tile reaches: smaller ones load more operands from
// shared memory per FLOP than 128x128, (m + n) / (m n) against 1 / 64, and wait for them.
double tile_rate(const TileShape& t) {
  return std::min(1.0, static_cast<double>(t.m * t.n) / static_cast<double>(64 * (t.m + t.n)));
}

bool from_library(GemmKernel k) { return k != GemmKernel::kFp8 && k != GemmKernel::kFp8Wgrad; }

// The size of group g in the grouped dimension, `total` being that of all groups.
int64_t group_size(const GemmShape& s, int64_t total, int64_t g) {
  if (!s.group_sizes.empty()) return s.group_sizes[static_cast<std::size_t>(g)];
  return total / s.groups + (g < total % s.groups ? 1 : 0);
}

// Tiles over all groups are row_tiles * ceil(n / tile_n), and each takes
// `k_blocks` blocks of 128 of the inner dimension on average, `max_k_blocks` at most.
struct Blocking {
  int64_t tile_m = 0;
  int64_t row_tiles = 0;
  double k_blocks = 0;
  int64_t max_k_blocks = 0;
};

// The integral of ceil(u / tile) over u from 0 to x.
double integrated_tiles(double x, double tile) {
  const double whole = std::floor(x / tile);
  return tile * whole * (whole + 1) / 2 + (whole + 1) * (x - whole * tile);
}

// Tiles that one of the groups takes on average, and the largest at most, when their sizes spread.
struct SpreadTiles {
  double mean, most;
};
SpreadTiles spread_tiles(double mean, double spread, int64_t tile) {
  const double half_width = std::sqrt(3.0) * spread * mean;  // of the uniform distribution
  const double low = std::max(0.0, mean - half_width), high = mean + half_width;
  const auto t = static_cast<double>(tile);
  return {(integrated_tiles(high, t) - integrated_tiles(low, t)) / (high - low),
          std::ceil(high / t)};
}

bool spreads(const GemmShape& s) {
  return s.groups > 1 && s.group_sizes.empty() && s.size_spread > 0;
}

Blocking block_rows(const GemmShape& s, int64_t tile_m) {
  Blocking b{.tile_m = tile_m,
             .k_blocks = static_cast<double>(ceil_div(s.k, kTileK)),
             .max_k_blocks = ceil_div(s.k, kTileK)};
  if (spreads(s) && s.m > 0) {
    const auto groups = static_cast<double>(s.groups);
    b.row_tiles = std::llround(
        groups * spread_tiles(static_cast<double>(s.m) / groups, s.size_spread, tile_m).mean);
    return b;
  }
  for (int64_t g = 0; g < s.groups; ++g) b.row_tiles += ceil_div(group_size(s, s.m, g), b.tile_m);
  return b;
}

Blocking block_inner(const GemmShape& s, int64_t tile_m) {
  if (spreads(s) && s.k > 0) {
    const SpreadTiles t = spread_tiles(static_cast<double>(s.k) / static_cast<double>(s.groups),
                                       s.size_spread, kTileK);
    return {.tile_m = tile_m,
            .row_tiles = s.groups * ceil_div(s.m, tile_m),
            .k_blocks = t.mean,
            .max_k_blocks = static_cast<int64_t>(t.most)};
  }
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

// The rows of DeepGEMM's tile.
int64_t block_scaled_tile_m(const GemmShape& s) {
  int64_t most = s.grouped == GroupedDim::kK ? s.m : 0;
  if (s.grouped == GroupedDim::kM)
    for (int64_t g = 0; g < s.groups; ++g) most = std::max(most, group_size(s, s.m, g));
  return most <= kSmallTile ? kSmallTile : kTileM;
}

// Tiles one after another of `blocks` blocks when `sms` of them run at first.
int64_t rounds_of_blocks(int64_t tiles, int64_t sms, int64_t blocks) {
  const int64_t late = blocks - sms;
  const int64_t share_of_late = tiles > sms ? ceil_div(tiles - sms, blocks) : 0;
  if (share_of_late == 0) return ceil_div(tiles, blocks);
  // Of the first ones those from tiles % blocks on have a tile less.
  const bool enough_end_early = sms - tiles % blocks >= late;
  return (enough_end_early ? tiles / blocks : ceil_div(tiles, blocks)) + share_of_late;
}

GemmTiling price_tile(const GpuSpec& gpu, const GemmShape& s, const TileShape& tile, int64_t sms,
                      int64_t launched_for) {
  const Blocking b = s.grouped == GroupedDim::kK ? block_inner(s, tile.m) : block_rows(s, tile.m);
  const int64_t tile_n = tile.n;
  const GemmKernelSpec& spec = gemm_kernel_spec(gpu, s.kernel);
  const double rate = sm_peak(gpu, spec.peak_TFLOPS.value).count() *
                      spec.mainloop_efficiency.value *
                      (from_library(s.kernel) ? tile_rate(tile) : 1);
  const double block_seconds = 2.0 * static_cast<double>(b.tile_m * tile_n * kTileK) / rate;
  const double overhead = spec.tile_overhead_us.value * 1e-6;
  GemmTiling t{.tile_m = b.tile_m, .tile_n = tile_n, .tiles = b.row_tiles * ceil_div(s.n, tile_n)};
  t.waves = spec.fixed_grid && launched_for > sms ? rounds_of_blocks(t.tiles, sms, launched_for)
                                                  : ceil_div(t.tiles, sms);
  if (t.waves == 0) return t;
  t.seconds = std::max(static_cast<double>(t.waves) * (b.k_blocks * block_seconds + overhead),
                       static_cast<double>(b.max_k_blocks) * block_seconds + overhead);
  return t;
}

// Bits of an operand's element, its share of the scales included (FP8 1x128: under 3 %, left out).
int64_t element_bits(GemmKernel kernel) {
  switch (kernel) {
    case GemmKernel::kBf16:
    case GemmKernel::kBf16Grouped:
      return 16;
    case GemmKernel::kNvfp4:
      return 5;  // 4, rounded up with 8 bits of scale per 16 elements
    default:
      return 8;
  }
}

int64_t output_bytes(GemmOutput output) {
  switch (output) {
    case GemmOutput::kFp32:
    case GemmOutput::kBf16Accumulate:
      return 4;
    case GemmOutput::kFp32Accumulate:
      return 8;
    case GemmOutput::kBf16:
      break;
  }
  return 2;
}

// Of all results; see the header.
double exposed_seconds(const GpuSpec& gpu, const GemmShape& s, const GpuShare& share) {
  const GemmKernelSpec& spec = gemm_kernel_spec(gpu, s.kernel);
  const int64_t results = s.m * s.n * (s.grouped == GroupedDim::kK ? s.groups : 1);
  const Bytes beyond(results * (output_bytes(s.output) - output_bytes(GemmOutput::kBf16)));
  return spec.accumulate_exposed.value * hbm_seconds(gpu, beyond, spec.hbm_efficiency.value, share);
}

}  // namespace

const GemmKernelSpec& gemm_kernel_spec(const GpuSpec& gpu, GemmKernel kernel) {
  switch (kernel) {
    case GemmKernel::kFp8:
      return gpu.gemm_fp8;
    case GemmKernel::kFp8Wgrad:
      return gpu.gemm_fp8_wgrad;
    case GemmKernel::kFp8Tensor:
      return gpu.gemm_fp8_tensor;
    case GemmKernel::kMxfp8:
      return gpu.gemm_mxfp8;
    case GemmKernel::kNvfp4:
      return gpu.gemm_nvfp4;
    case GemmKernel::kBf16Grouped:
      return gpu.gemm_bf16_grouped;
    case GemmKernel::kBf16:
      break;
  }
  return gpu.gemm_bf16;
}

const GemmKernelSpec& gemm_of_family(const GpuSpec& gpu, int family) {
  return gemm_kernel_spec(gpu, static_cast<GemmKernel>(family - kFirstGemmFamily));
}

Flops gemm_flops(const GemmShape& s) {
  return Flops(2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) *
               static_cast<double>(s.k));
}

Bytes gemm_bytes(const GemmShape& s) {
  const bool by_k = s.grouped == GroupedDim::kK;
  const int64_t operands = s.m * s.k + s.n * s.k * (by_k ? 1 : s.groups);
  const int64_t outputs = s.m * s.n * (by_k ? s.groups : 1);
  return Bytes(operands * element_bits(s.kernel) / 8 + outputs * output_bytes(s.output));
}

GemmTiling gemm_tiling(const GpuSpec& gpu, const GemmShape& s, int64_t sms, int64_t launched_for) {
  const int64_t tile_m = block_scaled_tile_m(s);
  const bool library = from_library(s.kernel);
  const auto price = [&](const TileShape& t) { return price_tile(gpu, s, t, sms, launched_for); };
  GemmTiling best = price(library ? kLibraryTiles[0] : TileShape{tile_m, kTileN});
  const auto take_if_faster = [&](const GemmTiling& t) {
    if (t.seconds < best.seconds) best = t;
  };
  const auto take_in_one_wave = [&](const TileShape& tile) {
    const GemmTiling t = price(tile);
    if (t.waves <= 1) take_if_faster(t);
  };
  if (!library) {
    take_in_one_wave({tile_m, kSmallTile});
    return best;
  }
  for (const TileShape& tile : kLibraryTiles) take_if_faster(price(tile));
  for (const TileShape& tile : kSmallLibraryTiles) take_in_one_wave(tile);
  return best;
}

double gemm_seconds(const GpuSpec& gpu, const GemmShape& s, const GpuShare& share) {
  const GemmKernelSpec& spec = gemm_kernel_spec(gpu, s.kernel);
  const double hbm = hbm_seconds(gpu, gemm_bytes(s), spec.hbm_efficiency.value, share);
  const double tiles = gemm_tiling(gpu, s, share.sms, share.launched_for).seconds;
  return gpu.kernel_fixed_us.value * 1e-6 +
         std::max(throttled_seconds(gpu.power, spec.pJ_per_FLOP.value, gemm_flops(s), gemm_bytes(s),
                                    tiles, share) +
                      exposed_seconds(gpu, s, share),
                  hbm);
}

}  // namespace orrery
