#include "kernels/gemm/fp8_tiling.h"

#include "tests/catch.h"

using namespace orrery::kernels;

TEST_CASE("units of an FP8 GEMM count pairs of tiles", "[kernels]") {
  // 4096 / 256 = 16 rows of tiles; 7168 / (2 · 128) = 28 pairs.
  CHECK(fp8_units({256, 128, true}, 4096, 7168) == 16 * 28);
  CHECK(fp8_units({256, 128, false}, 4096, 7168) == 16 * 56);
  // A part of a tile is a tile: 2112 / 256 = 8.25 pairs.
  CHECK(fp8_units({256, 128, true}, 4097, 2112) == 17 * 9);
  CHECK(fp8_units({256, 128, true}, 0, 2112) == 0);
}

TEST_CASE("work of an FP8 GEMM is that of the busiest multiprocessor", "[kernels]") {
  // 448 pairs on 66 pairs of multiprocessors: 6.8, hence 7 rounds.
  CHECK(fp8_work({256, 128, true}, 4096, 7168, 132) == 7 * fp8_step_cycles({256, 128, true}));
  // An odd one out idles.
  CHECK(fp8_work({256, 128, true}, 4096, 7168, 133) == 7 * fp8_step_cycles({256, 128, true}));
  CHECK(fp8_work({256, 128, false}, 4096, 7168, 1) == 896 * fp8_step_cycles({256, 128, false}));
}

TEST_CASE("three warpgroups wait less than two over an element of C", "[kernels]") {
  const auto per_element = [](const Fp8Tiling& t) {
    return static_cast<double>(fp8_step_cycles(t)) / (t.rows * t.cols);
  };
  CHECK(per_element({192, 128, true}) < per_element({256, 128, true}));
  CHECK(per_element({256, 128, true}) < per_element({128, 128, false}));
}

TEST_CASE("the FP8 tiling with the least work is chosen", "[kernels]") {
  // 616 pairs of 192 rows: 9.3, hence 10 rounds of 808 cycles; of 256 rows 7 of 1172, which is
  // more.
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 4096, 7168, 132) == Fp8Tiling{192, 128, true});
  // 256 pairs of 256 rows are 4 rounds, 4688 cycles; 22 · 16 = 352 of 192 rows are 6, 4848.
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 4096, 4096, 132) == Fp8Tiling{256, 128, true});
  // 128 rows would be a part of a tile of 192 or 256.
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 128, 7168, 132) == Fp8Tiling{128, 128, false});
  // 2112 columns: 22 · 9 = 198 pairs of 192 rows are 3 rounds, as many as 16 · 9 of 256 rows are.
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 4096, 2112, 132) == Fp8Tiling{192, 128, true});
  // One multiprocessor has no neighbour.
  CHECK_FALSE(choose_fp8_tiling(kFp8BlockTilings, 4096, 4096, 1).pair);
  CHECK_FALSE(choose_fp8_tiling(kFp8WgradTilings, 4096, 4096, 1).pair);
}

TEST_CASE("FP8 gradients of weights are cuBLASLt's where its tiles fill the GPU better",
          "[kernels]") {
  // 22 · 28 = 616 pairs of 192 rows are 10 rounds of 808 cycles, of which the last is a third full;
  // 32 · 56 = 1792 tiles of 128x128 are 14 of 560.
  CHECK_FALSE(fp8_wgrad_beats_cublaslt(4096, 7168, 132));
  CHECK_FALSE(fp8_wgrad_beats_cublaslt(32768, 512, 132));
  // 11 · 28 = 308 pairs, 5 rounds, 4040 cycles; 17 · 56 = 952 tiles, 8 rounds, 4480 cycles.
  CHECK(fp8_wgrad_beats_cublaslt(2112, 7168, 132));
  CHECK(fp8_wgrad_beats_cublaslt(7168, 16384, 132));
  CHECK(fp8_wgrad_beats_cublaslt(24576, 1536, 132));
}
