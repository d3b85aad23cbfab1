// Which tiles of C there are and in which order they are computed.
#pragma once

#include <climits>

#include "kernels/gemm/tile_gemm.h"

namespace orrery::kernels {

struct Tile {
  int row, row_end;  // first row of C; end of the rows that are the problem's (or the group's)
  int col;
  int k_begin, k_end;
  int group;  // kRows: whose rows these are; kDepth: counted from the first that is summed
};

// kRows, kCols: of a tile, or of what else counts as one. All threads of a warp call its functions
// together.
template <int kRows, int kCols, int kBand = 8>
class TileSchedule {
 public:
  __device__ explicit TileSchedule(const TileGemmParams& p) : p_(p) {
    Tile unused;
    row_tiles_ =
        p.grouping == TileGrouping::kRows ? find(INT_MAX, &unused) : (p.m + kRows - 1) / kRows;
    col_tiles_ = (p.n + kCols - 1) / kCols;
  }

  // The tile of this index; false past the last one. Neighbours, which run at the same time, share
  // rows or columns: bands of kBand rows of tiles are walked column by column.
  __device__ bool get(int index, Tile* tile) const {
    const int matrix = row_tiles_ * col_tiles_;
    const int matrices = p_.grouping == TileGrouping::kDepth ? p_.groups : 1;
    if (matrix == 0 || index / matrix >= matrices) return false;
    tile->group = index / matrix;
    index %= matrix;
    const int band = index / (kBand * col_tiles_), in_band = index % (kBand * col_tiles_);
    const int height = min(kBand, row_tiles_ - band * kBand);
    const int row_tile = band * kBand + in_band % height;
    tile->col = in_band / height * kCols;
    tile->k_begin = 0, tile->k_end = p_.k;
    if (p_.grouping == TileGrouping::kDepth) {
      tile->k_begin = p_.offsets[p_.group + tile->group];
      tile->k_end = p_.offsets[p_.group + tile->group + 1];
    }
    if (p_.grouping == TileGrouping::kRows)
      find(row_tile, tile);
    else
      tile->row = row_tile * kRows, tile->row_end = p_.m;
    return true;
  }

 private:
  // Finds the group that has this tile of rows; returns the tiles of all groups if none does.
  __device__ int find(int row_tile, Tile* tile) const {
    constexpr unsigned kAll = 0xffffffffu;
    const int lane = threadIdx.x % 32;
    int before = 0;  // tiles of the groups before this warp's 32
    for (int first = 0; first < p_.groups; first += 32) {
      const bool exists = first + lane < p_.groups;
      const int begin = exists ? p_.offsets[first + lane] : 0;
      const int end = exists ? p_.offsets[first + lane + 1] : 0;
      const int mine = (end - begin + kRows - 1) / kRows;
      int through = mine;  // tiles of the 32's groups up to this lane's
#pragma unroll
      for (int distance = 1; distance < 32; distance *= 2) {
        const int other = __shfl_up_sync(kAll, through, distance);
        if (lane >= distance) through += other;
      }
      const unsigned past = __ballot_sync(kAll, before + through > row_tile);
      if (past != 0) {
        const int lane_of_group = __ffs(static_cast<int>(past)) - 1;
        const int row = begin + (row_tile - (before + through - mine)) * kRows;
        tile->row = __shfl_sync(kAll, row, lane_of_group);
        tile->row_end = __shfl_sync(kAll, end, lane_of_group);
        tile->group = first + lane_of_group;
        return 0;
      }
      before += __shfl_sync(kAll, through, 31);
    }
    return before;
  }

  const TileGemmParams& p_;
  int row_tiles_, col_tiles_;
};

}  // namespace orrery::kernels
