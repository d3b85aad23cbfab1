// Fast exponentials.
#pragma once

namespace orrery::kernels {

constexpr float kLog2E = 1.44269504088896340736f;

// 2^x to two units in the last place; 0 for -infinity and where the result would be subnormal.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace orrery::kernels
