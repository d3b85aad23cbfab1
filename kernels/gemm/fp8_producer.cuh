// The warp of the FP8 GEMM kernel that walks the tiles and starts the copies.
#pragma once

#include "kernels/gemm/fp8_traits.cuh"
#include "kernels/gemm/tile_schedule.cuh"

namespace orrery::kernels::fp8_kernel {

template <class T>
class Producer {
  static constexpr int kBand = 2048 / T::kRows;  // rows of tiles that are walked together
  using Schedule = TileSchedule<T::kRows, T::kCols * T::kBlocks, kBand>;

 public:
  __device__ Producer(const Params& p, Shared<T> shared)
      : p_(p), shared_(shared), block_(T::kBlocks == 1 ? 0 : block_in_cluster()) {}

  __device__ void run() {
    const Schedule schedule(p_.gemm);
    const int stride = static_cast<int>(gridDim.x) / T::kBlocks;
    Tile tile;
    for (int unit = static_cast<int>(blockIdx.x) / T::kBlocks; schedule.get(unit, &tile);
         unit += stride) {
      tile.col += block_ * T::kCols;
      if (tile.k_begin < tile.k_end) copy_tile(tile);
    }
    if (leads()) {
      barrier_wait(shared_.empty(at_.stage), at_.parity ^ 1);
      tell({});
      barrier_arrive(shared_.full(at_.stage));
    }
  }

 private:
  __device__ static bool leads() { return threadIdx.x % 32 == 0; }

  __device__ void copy_tile(const Tile& tile) {
    const int depth = tile.k_end - tile.k_begin;
    const int steps = (depth + kTile - 1) / kTile;
    Step step{0, steps, depth - (steps - 1) * kTile, tile.row, tile.row_end, tile.col, tile.group};
    const TileGemmParams& g = p_.gemm;
    // Of kRows: matrices of B follow each other.
    const int b_row = g.grouping == TileGrouping::kRows ? tile.group * g.n + tile.col : tile.col;
    float scale = 0;  // lane l: of step l of the 32 steps at hand
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
      if constexpr (T::kBlockScales) {
        const int lane = threadIdx.x % 32;
        if (i % 32 == 0 && i + lane < steps) scale = block_scale(tile, i + lane);
        step.b_scale = __shfl_sync(0xffffffffu, scale, i % 32);
      }
      if (leads()) {
        barrier_wait(shared_.empty(at_.stage), at_.parity ^ 1);
        tell(step);
        copy_step(tile.row, b_row, tile.col, tile.k_begin + i * kTile);
      }
      at_.advance();
    }
  }

  __device__ float block_scale(const Tile& tile, int step) const {
    const TileGemmParams& g = p_.gemm;
    // The second tile of a pair may lie past the last column.
    const int block = min(tile.col, g.n - 1) / kTile;
    return g.b
        .scales[tile.group * g.b.group_scales + block * g.b.row_stride + step * g.b.tile_stride];
  }

  __device__ void tell(const Step& s) const {
    const uint32_t to = shared_.step(at_.stage);
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to),
                 "r"(__float_as_int(s.b_scale)), "r"(0), "r"(s.k_steps), "r"(s.k_tail)
                 : "memory");
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to + 16), "r"(s.row),
                 "r"(s.row_end), "r"(s.col), "r"(s.group)
                 : "memory");
  }

  __device__ void copy_step(int row, int b_row, int col, int k) const {
    const int s = at_.stage;
    const uint32_t full = shared_.full(s);
    barrier_arrive_expecting(full, T::kCopiedBytes);
    if constexpr (T::kBlocks == 1) {
      bulk_copy(shared_.a(s), &p_.a, row, k, full);
    } else {
      constexpr int kShare = T::kRows / T::kBlocks;
      bulk_copy_to_all(shared_.a(s) + block_ * kShare * kAtomRowBytes, &p_.a, row + block_ * kShare,
                       k, full, (1 << T::kBlocks) - 1);
    }
    bulk_copy(shared_.b(s), &p_.b, b_row, k, full);
#pragma unroll
    for (int i = 0; i < T::kRows / kTile; ++i)
      bulk_copy(shared_.a_scales(s) + i * kTile * 4, &p_.a_scales, k / kTile,
                row / 4 * 4 + i * kTile, full);
    if constexpr (!T::kBlockScales)
      bulk_copy(shared_.b_scales(s), &p_.b_scales, k / kTile, col, full);
  }

  const Params& p_;
  Shared<T> shared_;
  int block_;
  RingPosition<T::kStages> at_;
};

}  // namespace orrery::kernels::fp8_kernel
