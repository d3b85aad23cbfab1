// Bandwidth of the quantisation kernels, each tensor counted once, on the shapes of DeepSeek-V3's
// activations.
#include "kernels/quant/bench.cuh"
#include "kernels/quant/cast.h"

using namespace orrery::kernels;
using namespace orrery::kernels::bench;

namespace {

template <class Launch>
void report(const char* what, double bytes, Launch launch) {
  const double s = seconds(launch);
  std::printf("%-28s %8.1f us  %6.0f GB/s\n", what, s * 1e6, bytes / s * 1e-9);
}

}  // namespace

int main() {
  constexpr int64_t kRows = 32768, kCols = 7168, kCount = kRows * kCols;
  constexpr double kN = static_cast<double>(kCount);
  Buffer<bf16> x(kCount), y(kCount);
  Buffer<fp8> q(kCount), t(kCount);
  Buffer<float> q_scales(kCount / 128), t_scales(kCount / 128);
  Buffer<uint8_t> packed(kCount / 2 * 3);
  const Fp8View rows{q.get(), q_scales.get(), kRows, kCols, 1, kRows};
  const Fp8View transpose{t.get(), t_scales.get(), kCols, kRows, 1, kCols};
  const Fp8Block block{q.get(), q_scales.get(), kRows, kCols};
  const Fp8Block block_t{t.get(), t_scales.get(), kCols, kRows};
  CastTransposeParams from_bf16, from_fp8;
  from_bf16.rows = from_fp8.rows = kRows, from_bf16.cols = from_fp8.cols = kCols;
  from_bf16.out = from_fp8.out = transpose;
  from_bf16.x = x.get(), from_fp8.x8 = rows;

  std::printf("[%ld, %ld]\n", kRows, kCols);
  report("cast_rows", 3 * kN, [&] { return cast_rows({kRows, kCols, x.get(), rows}, nullptr); });
  report("cast_back", 3 * kN, [&] { return cast_back({rows, y.get()}, nullptr); });
  report("cast_transpose of BF16", 3 * kN, [&] { return cast_transpose(from_bf16, nullptr); });
  report("cast_transpose of FP8", 2 * kN, [&] { return cast_transpose(from_fp8, nullptr); });
  report("cast_block", 3 * kN, [&] {
    return cast_block({1, kRows, kCols, x.get(), block}, nullptr);
  });
  report("transpose_block", 2 * kN, [&] {
    return transpose_block({1, kRows, kCols, block, block_t}, nullptr);
  });
  report("transpose_bf16", 4 * kN, [&] {
    return transpose_bf16({kRows, kCols, x.get(), y.get()}, nullptr);
  });
  report("cast_e5m6", 3.5 * kN, [&] {
    return cast_e5m6({kRows, kCols, x.get(), packed.get(), q_scales.get()}, nullptr);
  });
  report("cast_back_e5m6", 3.5 * kN, [&] {
    return cast_back_e5m6({kRows, kCols, packed.get(), q_scales.get(), y.get()}, nullptr);
  });
  need(cudaDeviceSynchronize());
}
