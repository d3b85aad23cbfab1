// How the BF16 GEMM kernel cuts C into tiles. Plain C++.
#pragma once

#include <cstdint>

namespace orrery::kernels {

constexpr int kBf16TileRows = 128;
constexpr int kBf16TileCols[] = {256, 128};  // those that are compiled

// Columns of a tile for C[m, n], of `matrices` of them: those with the least work for the busiest
// of `sms` multiprocessors if all tiles take as long as they are wide, the wider of equals. Rows of
// groups count as if there were one group.
constexpr int bf16_tile_cols(int64_t m, int64_t n, int64_t matrices, int sms) {
  int best = 0;
  int64_t least = 0;
  for (const int cols : kBf16TileCols) {
    const int64_t tiles =
        matrices * ((m + kBf16TileRows - 1) / kBf16TileRows) * ((n + cols - 1) / cols);
    const int64_t work = (tiles + sms - 1) / sms * cols;
    if (best == 0 || work < least) best = cols, least = work;
  }
  return best;
}

}  // namespace orrery::kernels
