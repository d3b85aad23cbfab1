// The instructions that the attention kernels are made of (PTX ISA, "Warp Level Matrix
// Multiply-Accumulate" and "cp.async").
#pragma once

#include <cstdint>

namespace orrery::kernels::attention {

// For the instructions below, which address shared memory in 32 bits.
__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Copies kBytes (8 or 16) from global to shared memory, or writes zeros there when !valid.
template <int kBytes>
__device__ inline void cp_async(uint32_t shared, const void* global, bool valid) {
  const int from = valid ? kBytes : 0;
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
                 "r"(from)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared), "l"(global),
                 "r"(from)
                 : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of this thread's groups.
__device__ inline void cp_async_wait() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// Four 8x8 BF16 matrices; lane l passes the address of row l % 8 of matrix l / 8 and gets, of
// matrix i, columns 2(l % 4) and 2(l % 4) + 1 of row l / 4 in r[i].
__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
// The same of the transposed matrices.
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// c[16, 8] += a[16, 16] · b[16, 8]. Lane l holds rows l / 4 (c[0], c[1]) and l / 4 + 8 (c[2], c[3])
// of c, columns 2(l % 4) and 2(l % 4) + 1.
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace orrery::kernels::attention
