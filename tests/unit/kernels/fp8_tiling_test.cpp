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
  CHECK(fp8_work({256, 128, true}, 4096, 7168, 132) == 7 * 256 * 128);
  // An odd one out idles.
  CHECK(fp8_work({256, 128, true}, 4096, 7168, 133) == 7 * 256 * 128);
  CHECK(fp8_work({256, 128, false}, 4096, 7168, 1) == 896 * 256 * 128);
}

TEST_CASE("the FP8 tiling with the least work is chosen", "[kernels]") {
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 4096, 7168, 132) == Fp8Tiling{256, 128, true});
  // 128 rows would be half of a tile of 256.
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 128, 7168, 132) == Fp8Tiling{128, 128, false});
  // 2112 columns: 16 · 9 = 144 pairs are 3 rounds of 256 · 128, 32 · 17 = 544 single tiles 5 of
  // 128 · 128.
  CHECK(choose_fp8_tiling(kFp8BlockTilings, 4096, 2112, 132) == Fp8Tiling{128, 128, false});
  // One multiprocessor has no neighbour.
  CHECK_FALSE(choose_fp8_tiling(kFp8BlockTilings, 4096, 4096, 1).pair);
  CHECK_FALSE(choose_fp8_tiling(kFp8WgradTilings, 4096, 4096, 1).pair);
}
