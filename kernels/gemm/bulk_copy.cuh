// Hopper's bulk tensor copies into shared memory, and what a cluster of blocks shares (PTX ISA,
// "cp.async.bulk.tensor", "mbarrier", "barrier.cluster").
#pragma once

#include <cuda.h>

#include <cstdint>

namespace orrery::kernels {

__device__ inline void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Arrives, and makes the phase wait for `bytes` of bulk copies too.
__device__ inline void barrier_arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Copies `bytes` to shared memory; both addresses and `bytes` are multiples of 16. The bytes arrive
// at the barrier.
__device__ inline void bulk_copy_bytes(uint32_t to, const void* from, uint32_t bytes,
                                       uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// Copies the box that begins at (row, col) to shared memory; its bytes arrive at the barrier.
__device__ inline void bulk_copy(uint32_t to, const CUtensorMap* map, int row, int col,
                                 uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(col), "r"(row), "r"(barrier)
      : "memory");
}

// The same of one of several matrices.
__device__ inline void bulk_copy_3d(uint32_t to, const CUtensorMap* map, int matrix, int row,
                                    int col, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(map), "r"(col), "r"(row), "r"(matrix), "r"(barrier)
      : "memory");
}

// bulk_copy to the same place in each block of the cluster that is in `blocks`, and to its barrier.
__device__ inline void bulk_copy_to_all(uint32_t to, const CUtensorMap* map, int row, int col,
                                        uint32_t barrier, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(map), "r"(col), "r"(row), "r"(barrier), "h"(blocks)
      : "memory");
}

// Arrives at the barrier at this address in a block of the cluster.
__device__ inline void barrier_arrive_at(uint32_t barrier, int block) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(barrier),
      "r"(block)
      : "memory");
}

// After barrier_init, before other blocks or copies use the barriers.
__device__ inline void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// True in one thread of the warp, which runs this together. The compiler knows that one is enough
// for a copy whose operands are the same in all.
__device__ inline bool elected() {
  uint32_t yes;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}\n"
               : "=r"(yes));
  return yes != 0;
}

__device__ inline int block_in_cluster() {
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// All threads of all blocks of the cluster.
__device__ inline void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::
                   : "memory");
}

}  // namespace orrery::kernels
