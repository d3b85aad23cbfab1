// How the FP8 GEMM kernel cuts C into tiles, and which cut suits a shape. Plain C++.
#pragma once

#include <algorithm>
#include <cstdint>

namespace orrery::kernels {

// A tile of C. `pair`: two blocks, on neighbouring multiprocessors, compute tiles side by side and
// share what they load of A.
struct Fp8Tiling {
  int rows = 0, cols = 0;
  bool pair = false;
  bool operator==(const Fp8Tiling&) const = default;
};

// Those that are compiled.
constexpr Fp8Tiling kFp8BlockTilings[] = {{256, 128, true}, {192, 128, true}, {128, 128, false}};
constexpr Fp8Tiling kFp8WgradTilings[] = {{192, 128, true}, {128, 128, false}};

// How long 128 of K of a tile takes, in the multiprocessor's cycles with all of them at work: k
// 16384 on an H200 (NOTES.md).
constexpr int64_t fp8_step_cycles(const Fp8Tiling& t) {
  return t.rows == 256 ? 1172 : t.rows == 192 ? 808 : 675;
}

// Units of work, each a tile or a pair of them, of C[m, n].
constexpr int64_t fp8_units(const Fp8Tiling& t, int64_t m, int64_t n) {
  const int64_t width = t.pair ? 2 * t.cols : t.cols;
  return (m + t.rows - 1) / t.rows * ((n + width - 1) / width);
}

// Multiprocessors that the kernel can use of `sms`.
constexpr int fp8_sms(const Fp8Tiling& t, int sms) { return t.pair ? sms / 2 * 2 : sms; }

// Rounds of tiles, in cycles for 128 of K: the work of the busiest multiprocessor.
constexpr int64_t fp8_work(const Fp8Tiling& t, int64_t m, int64_t n, int sms) {
  const int64_t at_once = std::max(1, fp8_sms(t, sms) / (t.pair ? 2 : 1));
  return (fp8_units(t, m, n) + at_once - 1) / at_once * fp8_step_cycles(t);
}

// The tiling of least work among `tilings`; the first of equals. The last is no pair.
template <int kCount>
constexpr Fp8Tiling choose_fp8_tiling(const Fp8Tiling (&tilings)[kCount], int64_t m, int64_t n,
                                      int sms) {
  const Fp8Tiling* best = nullptr;
  for (const Fp8Tiling& t : tilings) {
    if (t.pair && sms < 2) continue;
    if (best == nullptr || fp8_work(t, m, n, sms) < fp8_work(*best, m, n, sms)) best = &t;
  }
  return *best;
}

// Whether C[m, n], a gradient of weights, is ready earlier than by cuBLASLt, whose kernel is taken
// for one of 128x128 tiles that need kLtStepCycles each: so its times on an H200 compare with those
// of the tilings above, over 4096 and 8192 tokens, where C is written or added to (NOTES.md).
constexpr bool fp8_wgrad_beats_cublaslt(int64_t m, int64_t n, int sms) {
  constexpr int64_t kLtStepCycles = 560, kLtSide = 128;
  const int64_t lt_tiles = (m + kLtSide - 1) / kLtSide * ((n + kLtSide - 1) / kLtSide);
  const int64_t lt_work = (lt_tiles + sms - 1) / sms * kLtStepCycles;
  return fp8_work(choose_fp8_tiling(kFp8WgradTilings, m, n, sms), m, n, sms) <= lt_work;
}

}  // namespace orrery::kernels
