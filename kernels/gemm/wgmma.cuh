// Hopper's warpgroup matrix multiply-accumulate: D[64, n] += A[64, 32 bytes]·B[32 bytes, n] by four
// warps, both operands in shared memory (PTX ISA, "Asynchronous warpgroup level matrix
// instructions").
//
// Element i of a thread's d is row 16·warp + lane/4 + 8·(i/2 % 2) and column 8·(i/4) + 2·(lane % 4)
// + i % 2 of D.
#pragma once

#include <cstdint>

namespace orrery::kernels {

// An operand in shared memory consists of atoms of 128-byte rows in the 128-byte swizzle: 16-byte
// chunk c of row r lies at chunk c ^ (r % 8). An atom begins at a multiple of 1024 bytes.
constexpr int kAtomRowBytes = 128;
constexpr int kSwizzleBytes = 8 * kAtomRowBytes;  // after which the swizzle repeats

__device__ inline uint32_t swizzled(int row, int chunk) {
  return static_cast<uint32_t>(row * kAtomRowBytes + ((chunk ^ (row % 8)) << 4));
}

// K contiguous: a row of the atom is a row of A, or a column of B, and 128 bytes of K; `leading` is
// not used. K strided: a row of the atom is one k and 64 BF16 values of m or n, and `leading` is
// the bytes from one atom to that of the next 64.
__device__ inline uint64_t matrix_descriptor(uint32_t shared_address, uint32_t leading) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return (shared_address & 0x3ffff) >> 4 | uint64_t{leading >> 4} << 16 |
         uint64_t{kSwizzleBytes >> 4} << 32 | kSwizzle128;
}

// Before the first wgmma and whenever other instructions have written its registers.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending of this thread's committed groups are unfinished.
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// The compiler does not know that a wgmma writes its registers later: keeps uses of d on their
// side.
template <int kCount>
__device__ inline void keep_in_place(float (&d)[kCount]) {
#pragma unroll
  for (float& x : d) asm volatile("" : "+f"(x)::"memory");
}

// The accumulators of an instruction, as its text and as its operands.
#define ORRERY_WGMMA_TEXT_32                                               \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ORRERY_WGMMA_NEXT_64                                                         \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ORRERY_WGMMA_TEXT_64 ORRERY_WGMMA_TEXT_32 ", " ORRERY_WGMMA_NEXT_64
#define ORRERY_WGMMA_NEXT_96                                                         \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define ORRERY_WGMMA_TEXT_96 ORRERY_WGMMA_TEXT_64 ", " ORRERY_WGMMA_NEXT_96
#define ORRERY_WGMMA_NEXT_128                                                                    \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define ORRERY_WGMMA_TEXT_128 ORRERY_WGMMA_TEXT_96 ", " ORRERY_WGMMA_NEXT_128
#define ORRERY_WGMMA_8(d, i)                                                                    \
  "+f"((d)[i]), "+f"((d)[(i) + 1]), "+f"((d)[(i) + 2]), "+f"((d)[(i) + 3]), "+f"((d)[(i) + 4]), \
      "+f"((d)[(i) + 5]), "+f"((d)[(i) + 6]), "+f"((d)[(i) + 7])
#define ORRERY_WGMMA_32(d, i)                                                    \
  ORRERY_WGMMA_8(d, i), ORRERY_WGMMA_8(d, (i) + 8), ORRERY_WGMMA_8(d, (i) + 16), \
      ORRERY_WGMMA_8(d, (i) + 24)
#define ORRERY_WGMMA_64(d, i) ORRERY_WGMMA_32(d, i), ORRERY_WGMMA_32(d, (i) + 32)
#define ORRERY_WGMMA_96(d, i) ORRERY_WGMMA_64(d, i), ORRERY_WGMMA_32(d, (i) + 64)
#define ORRERY_WGMMA_128(d, i) ORRERY_WGMMA_64(d, i), ORRERY_WGMMA_64(d, (i) + 64)

// d (+)= A·B of 16 of K, BF16, both in shared memory; without `accumulate` D is overwritten.
// kTransposed: K is strided.
template <int kATransposed = 0, int kBTransposed = 0>
__device__ inline void wgmma_bf16(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" ORRERY_WGMMA_TEXT_128
      "}, %128, %129, p, 1, 1, %131, %132;\n}\n"
      : ORRERY_WGMMA_128(d, 0)
      : "l"(a), "l"(b), "r"(accumulate), "n"(kATransposed), "n"(kBTransposed));
}

template <int kATransposed = 0, int kBTransposed = 0>
__device__ inline void wgmma_bf16(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" ORRERY_WGMMA_TEXT_64
      "}, %64, %65, p, 1, 1, %67, %68;\n}\n"
      : ORRERY_WGMMA_64(d, 0)
      : "l"(a), "l"(b), "r"(accumulate), "n"(kATransposed), "n"(kBTransposed));
}

template <int kATransposed = 0, int kBTransposed = 0>
__device__ inline void wgmma_bf16(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" ORRERY_WGMMA_TEXT_32
      "}, %32, %33, p, 1, 1, %35, %36;\n}\n"
      : ORRERY_WGMMA_32(d, 0)
      : "l"(a), "l"(b), "r"(accumulate), "n"(kATransposed), "n"(kBTransposed));
}

// d += A·B of 16 of K, BF16: A in registers, where accumulators of columns 16i .. 16i + 15 have it
// once they are packed; B in shared memory with K strided.
__device__ inline void wgmma_bf16_registers(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" ORRERY_WGMMA_TEXT_64
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
               : ORRERY_WGMMA_64(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

__device__ inline void wgmma_bf16_registers(float (&d)[96], const uint32_t (&a)[4], uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" ORRERY_WGMMA_TEXT_96
               "}, {%96, %97, %98, %99}, %100, 1, 1, 1, 1;\n"
               : ORRERY_WGMMA_96(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// d (+)= A·B of 32 of K, e4m3, contiguous in both operands.
__device__ inline void wgmma_e4m3(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" ORRERY_WGMMA_TEXT_64
      "}, %64, %65, p, 1, 1;\n}\n"
      : ORRERY_WGMMA_64(d, 0)
      : "l"(a), "l"(b), "r"(accumulate));
}

#undef ORRERY_WGMMA_TEXT_32
#undef ORRERY_WGMMA_NEXT_64
#undef ORRERY_WGMMA_TEXT_64
#undef ORRERY_WGMMA_NEXT_96
#undef ORRERY_WGMMA_TEXT_96
#undef ORRERY_WGMMA_NEXT_128
#undef ORRERY_WGMMA_TEXT_128
#undef ORRERY_WGMMA_8
#undef ORRERY_WGMMA_32
#undef ORRERY_WGMMA_64
#undef ORRERY_WGMMA_96
#undef ORRERY_WGMMA_128

}  // namespace orrery::kernels
