#include "sim/cost/unfused_attention.h"

#include "tests/catch.h"
#include "tests/unit/cost/h800.h"

using namespace orrery;
using test::number;
using test::round_gpu;

TEST_CASE("unfused attention is its products and its passes over the scores", "[cost]") {
  // 100 SMs of 1 TFLOP/s; 50 heads of 256 tokens and 128 dimensions.
  GpuSpec gpu = round_gpu();
  const AttentionShape s{.heads = 50, .length = 256, .d_qk = 128, .d_v = 128};
  const GpuShare all = whole_gpu(gpu);
  // Scores: 50 x 256 x 256 = 3276800, at 1000 GB/s a byte of each takes 3.2768 us.
  // QK^T: 50 heads of [256, 256] outputs, 100 tiles of 256x128 on 100 SMs (one wave): 2 * 256 * 128
  // * 128 FLOPs = 8.388608 us; its bytes, 50 * (2 * 256 * 128 * 2 + 256 * 256 * 2), take 13.1072
  // us. PV: [256, 128] outputs, 50 tiles of 256x128 with k = 256 (16.777216 us) or 100 of 128x128:
  // 2 * 128^2 * 256 = 8.388608 us; bytes 13.1072 us again.
  const double map = 3.2768e-6, product = 13.1072e-6;
  CHECK(unfused_attention_forward_seconds(gpu, s, false, all) == Approx(2 * product + 4 * map));
  CHECK(unfused_attention_forward_seconds(gpu, s, true, all) == Approx(2 * product + 9 * map));
  CHECK(unfused_attention_backward_seconds(gpu, s, false, all) == Approx(4 * product + 6 * map));
  CHECK(unfused_attention_backward_seconds(gpu, s, true, all) == Approx(4 * product + 11 * map));
}

TEST_CASE("unfused attention is slower than a fused kernel, most so for long sequences", "[cost]") {
  const GpuSpec gpu = test::h800();
  double last = 1;
  for (const int64_t length : {1024, 2048, 8192}) {
    const AttentionShape s{.heads = 32, .length = length, .d_qk = 128, .d_v = 128};
    const double ratio = unfused_attention_forward_seconds(gpu, s, true, whole_gpu(gpu)) /
                         attention_forward_seconds(gpu, gpu.attention_forward, s, whole_gpu(gpu));
    CHECK(ratio > last);
    last = ratio;
  }
}
