// Time of one tensor-core GEMM: a persistent kernel that walks the output in tiles.
//
// An output tile of tile_m x tile_n takes one SM
//   tile_seconds = ceil(k / 128) * 2 * tile_m * tile_n * 128 / (SM peak * mainloop_efficiency)
//                + tile_overhead_us
// and the kernel takes
//   kernel_fixed_us + max(ceil(tiles / SMs) * tile_seconds + exposed,
//                         bytes / (HBM bandwidth * efficiency)).
// A kernel with a fixed grid (DeepGEMM, the runtime's own) is launched with a block for each of the
// SMs that it knows of, and block b computes tiles b, b + blocks, ... Blocks that find no SM, since
// a kernel of communication holds it, start when the first others end, and then compute their
// share: 512 tiles on 132 blocks of which 116 run at first take 4 + 3 tiles, not 5.
//
// Quantisation is the point of the model: a last wave that fills few SMs costs a whole one, and
// rows, columns and k are rounded up to the tile.
//
// The tensor cores' clock is that of sim/cost/power.h: at the fraction f that the power limit
// leaves, the tiles take 1 / f as long.
//
// Tiles of the 1x128 kernels follow the heuristic of DeepGEMM's first release (get_best_configs,
// February 2025): 128 rows, or 64 when no group has more than 64; 128 columns, or 64 where those
// too fit the SMs in one wave, since DeepGEMM's order (fewest waves, then fullest last wave) picks
// a narrower tile only there. Its widths between (112, 120) are left out: the H800 table runs at
// the speed of 128-wide tiles where the heuristic would pick them. The other kernels are a library
// (cuBLAS) that has many tiles, of which the fastest by the formula is taken; those with a side of
// 64 load more from shared memory per FLOP and are slower in proportion. Time then never falls as
// m, n or k grows or SMs go away. On Blackwell two SMs share a 256-wide tile, each half of it.
//
// A tile whose result is added to FP32 reads and writes it in an epilogue that only the main loop
// of another tile on the SM hides, and that loop's loads share the HBM:
//   exposed = accumulate_exposed * (bytes of the result beyond BF16's) / (HBM bandwidth *
//   efficiency)
// with a fraction as cuBLAS shows it (28672 x 4096 weight gradients over 4096 tokens take 3.5 %
// more than the forward product on an A100, 0.42 ms of traffic costing 0.15).
//
// Groups of unequal size end in a tile that is half empty on average, also where the mean is a
// multiple of the tile: experts of 512 +- 23 rows take 4.5 tiles of 128, not 4. Sizes are then
// taken as uniform around their mean, as wide as their standard deviation says.
//
// HBM traffic is each operand once, each output once, twice if FP32 is accumulated in place. Tiles
// read operands again through L2; the order of tiles is assumed to keep that out of HBM (50 MB of
// L2 hold the strips that one wave of 132 tiles works on). Ignored: L2 bandwidth, clocks of the
// 1x128 kernels, whose constants hold a sustained one. Both show: the kernels of DeepSeek's H800
// training trace, on 112 SMs beside all-to-alls, have a mainloop about 12 % slower than the
// stand-alone table (o_proj, k = 16384: model 10 % fast) and a shorter epilogue (kv_up, k = 512:
// model 11 % slow); all dense FP8 GEMMs together come out 5 % fast, the grouped ones 6 %.
//
// Constants: gemm_fp8 fits 10 rows of DeepGEMM's H800 table (4096 rows and more) within 2 %;
// gemm_bf16 of Hopper fits 29 of 43 rows of XLA's H100 table within 2 % in the median (held out:
// 2.5 %), and with one energy per operation cuBLAS on an H200 (3 %, held out 4 %);
// gemm_fp8_wgrad has no stand-alone H800 measurement and fits the five attention wgrads of the
// trace within 6 %. Valid for n >= 64 and from 64 rows up (to 128 rows: 33 % off at worst, where L2
// limits).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "sim/cost/roofline.h"

namespace orrery {

enum class GemmKernel : uint8_t {
  kBf16,       // and FP16
  kFp8,        // 1x128 scales by 128x128 scales: fprop and dgrad
  kFp8Wgrad,   // 1x128 scales by 1x128 scales
  kFp8Tensor,  // one scale per tensor
  kMxfp8,      // 1x32
  kNvfp4,      // 1x16
  kBf16Grouped,
};

enum class GemmOutput : uint8_t { kBf16, kBf16Accumulate, kFp32, kFp32Accumulate };
constexpr int kGemmOutputs = 4;
extern const std::string_view kGemmOutputNames[kGemmOutputs];  // "bf16", "bf16_accumulate", ...

// The dimension that differs from group to group in a grouped GEMM: the rows m of fprop and dgrad,
// the inner dimension k of wgrad.
enum class GroupedDim : uint8_t { kM, kK };

// `groups` products of [m_g, k] x [k, n] (kM) or [m, k_g] x [k_g, n] (kK) in one launch. The
// grouped dimension of the shape counts all groups together.
struct GemmShape {
  GemmKernel kernel = GemmKernel::kBf16;
  GemmOutput output = GemmOutput::kBf16;
  int64_t m = 0, n = 0, k = 0;
  int64_t groups = 1;
  GroupedDim grouped = GroupedDim::kM;
  std::span<const int64_t> group_sizes = {};  // m_g or k_g; empty: around the mean
  double size_spread = 0;  // their standard deviation over the mean, when empty; 0: all equal
};

struct GemmTiling {
  int64_t tile_m = 0, tile_n = 0;
  int64_t tiles = 0;   // of all groups
  int64_t waves = 0;   // tiles that the last SM to end computes, one after another, or waits for
  double seconds = 0;  // waves * tile_seconds
};

const GemmKernelSpec& gemm_kernel_spec(const GpuSpec& gpu, GemmKernel kernel);
// Of a family of kRateFamilyNames that is a GEMM's.
const GemmKernelSpec& gemm_of_family(const GpuSpec& gpu, int family);

Flops gemm_flops(const GemmShape& shape);  // 2 m n k, without padding
Bytes gemm_bytes(const GemmShape& shape);  // each operand once, output as in the comment above
GemmTiling gemm_tiling(const GpuSpec& gpu, const GemmShape& shape, int64_t sms,
                       int64_t launched_for = 0);

// Seconds of the kernel. An empty GEMM costs kernel_fixed_us.
double gemm_seconds(const GpuSpec& gpu, const GemmShape& shape, const GpuShare& share);

}  // namespace orrery
