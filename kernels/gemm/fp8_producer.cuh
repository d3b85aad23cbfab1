// The warps of the FP8 GEMM kernel that walk the tiles and start the copies: one copies the
// operands, one their scales, so that neither takes longer over a step than the tensor cores do.
#pragma once

#include "kernels/gemm/fp8_traits.cuh"
#include "kernels/gemm/tile_schedule.cuh"

namespace orrery::kernels::fp8_kernel {

constexpr int kProducerWarps = 2;

// Both walk the same tiles and wait for the same buffers. Whatever a copy is told is the same in
// all lanes, visibly for the compiler, which else issues every copy in a loop over the lanes.
template <class T>
class Producer {
  static constexpr int kBand = 2048 / T::kRows;  // rows of tiles that are walked together
  using Schedule = TileSchedule<T::kRows, T::kCols * T::kBlocks, kBand>;

 public:
  __device__ Producer(const Params& p, Shared<T> shared)
      : p_(p), shared_(shared), block_(T::kBlocks == 1 ? 0 : block_in_cluster()) {}

  __device__ void run() {
    const bool operands = same(threadIdx.x / 32) == 0;
    const Schedule schedule(p_.gemm);
    const int stride = static_cast<int>(gridDim.x) / T::kBlocks;
    Tile tile;
    for (int unit = static_cast<int>(blockIdx.x) / T::kBlocks; schedule.get(unit, &tile);
         unit += stride) {
      tile = {same(tile.row),     same(tile.row_end), same(tile.col + block_ * T::kCols),
              same(tile.k_begin), same(tile.k_end),   same(tile.group)};
      if (tile.k_begin >= tile.k_end) continue;
      const int steps = (tile.k_end - tile.k_begin + kTile - 1) / kTile;
      if (operands)
        copy_operands(tile, steps);
      else
        copy_scales(tile, steps);
    }
    if (operands) finish();
  }

 private:
  __device__ static int same(int x) { return __shfl_sync(0xffffffffu, x, 0); }

  __device__ void await_buffer() const { barrier_wait(shared_.empty(at_.stage), at_.parity ^ 1); }

  __device__ void copy_operands(const Tile& tile, int steps) {
    const TileGemmParams& g = p_.gemm;
    // Of kRows: matrices of B follow each other.
    const int b_row = g.grouping == TileGrouping::kRows ? tile.group * g.n + tile.col : tile.col;
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
      await_buffer();
      if (elected()) {
        const int s = at_.stage, k = tile.k_begin + i * kTile;
        const uint32_t full = shared_.full(s);
        barrier_arrive_expecting(full, T::kABytes + T::kBBytes);
        if constexpr (T::kBlocks == 1) {
          bulk_copy(shared_.a(s), &p_.a, tile.row, k, full);
        } else {
          constexpr int kShare = T::kRows / T::kBlocks;
          bulk_copy_to_all(shared_.a(s) + block_ * kShare * kAtomRowBytes, &p_.a,
                           tile.row + block_ * kShare, k, full, (1 << T::kBlocks) - 1);
        }
        bulk_copy(shared_.b(s), &p_.b, b_row, k, full);
      }
      __syncwarp();
      at_.advance();
    }
  }

  __device__ void copy_scales(const Tile& tile, int steps) {
    const int depth = tile.k_end - tile.k_begin, lane = threadIdx.x % 32;
    Step step{0, steps, depth - (steps - 1) * kTile, tile.row, tile.row_end, tile.col, tile.group};
    float scale = 0;  // lane l: of step l of the 32 steps at hand
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
      if constexpr (T::kBlockScales) {
        if (i % 32 == 0 && i + lane < steps) scale = block_scale(tile, i + lane);
        step.b_scale = __shfl_sync(0xffffffffu, scale, i % 32);
      }
      await_buffer();
      if (elected()) {
        const int s = at_.stage, k_tile = tile.k_begin / kTile + i;
        const uint32_t full = shared_.full(s);
        tell(step);
        barrier_arrive_expecting(full, T::kScaleBytes);
#pragma unroll
        for (int j = 0; j < T::kScaleBoxes; ++j)
          bulk_copy(shared_.a_scales(s) + j * kTile * 4, &p_.a_scales, k_tile,
                    tile.row / 4 * 4 + j * kTile, full);
        if constexpr (!T::kBlockScales)
          bulk_copy(shared_.b_scales(s), &p_.b_scales, k_tile, tile.col, full);
      }
      __syncwarp();
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

  // No more tiles; arrives for both warps.
  __device__ void finish() const {
    await_buffer();
    if (!elected()) return;
    tell({});
    for (int i = 0; i < kProducerWarps; ++i) barrier_arrive(shared_.full(at_.stage));
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

  const Params& p_;
  Shared<T> shared_;
  int block_;
  RingPosition<T::kStages> at_;
};

}  // namespace orrery::kernels::fp8_kernel
