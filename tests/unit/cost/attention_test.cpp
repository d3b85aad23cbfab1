#include "sim/cost/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "tests/catch.h"
#include "tests/unit/cost/h800.h"

using namespace orrery;
using test::h800;
using test::number;
using test::round_gpu;

namespace {

AttentionShape shape(int64_t heads, int64_t length, int64_t d_qk, int64_t d_v, bool causal) {
  return {.heads = heads, .length = length, .d_qk = d_qk, .d_v = d_v, .causal = causal};
}

double forward_seconds(const GpuSpec& gpu, const AttentionShape& s, const GpuShare& share) {
  return attention_forward_seconds(gpu, gpu.attention_forward, s, share);
}
double backward_seconds(const GpuSpec& gpu, const AttentionShape& s, const GpuShare& share) {
  return attention_backward_seconds(gpu, gpu.attention_backward, s, share);
}

const AttentionShape kDeepSeekV3 = shape(128, 4096, 192, 128, true);

}  // namespace

TEST_CASE("attention FLOPs count two products forward and five backward", "[cost]") {
  // 2 * 128 * 4096^2 * (192 + 128) / 2 and 2 * 128 * 4096^2 * (3 * 192 + 2 * 128) / 2.
  CHECK(attention_forward_flops(kDeepSeekV3).count() == 687194767360.0);
  CHECK(attention_backward_flops(kDeepSeekV3).count() == 1786706395136.0);
  const AttentionShape full = shape(16, 2048, 128, 128, false);
  CHECK(attention_forward_flops(full).count() == 4.0 * 16 * 2048 * 2048 * 128);
  CHECK(attention_backward_flops(full).count() == 2.5 * attention_forward_flops(full).count());
}

TEST_CASE("attention time follows the tile formula", "[cost]") {
  GpuSpec gpu = round_gpu();
  gpu.hbm_bandwidth_GBps = number(1e6);
  // 60 heads of 4 tiles with 4 blocks each on 100 SMs: 3 waves. A block is 2 * 128^2 * 256 FLOPs =
  // 8.388608 us at 1 TFLOP/s.
  CHECK(forward_seconds(gpu, shape(60, 512, 128, 128, false), {.sms = 100}) ==
        Approx(3 * 4 * 8.388608e-6));
  // With softmax and 2 us per tile (doubled for d_qk + d_v = 512): products of 2 * 128^2 * 512
  // FLOPs take 16.777216 us, four times 4.194304; softmax of three times that makes it five.
  gpu.attention_forward.softmax_us = number(12.582912);
  gpu.attention_forward.tile_overhead_us = number(2);
  CHECK(forward_seconds(gpu, shape(60, 512, 256, 256, false), {.sms = 100}) ==
        Approx(3 * (4 * 20.97152 + 4) * 1e-6));
  // Causal: tiles of 1, 2, 3 and 4 blocks, 600 blocks of all heads over 100 SMs, and half of the
  // longest tile as the tail. The backward's block is 2 * 128^2 * 640 FLOPs = 20.97152 us.
  CHECK(backward_seconds(gpu, shape(60, 512, 128, 128, true), {.sms = 100}) ==
        Approx((6 + 2) * 20.97152e-6));
  // Sorted by length, the tiles leave no tail.
  gpu.attention_backward.tail = number(0);
  CHECK(backward_seconds(gpu, shape(60, 512, 128, 128, true), {.sms = 100}) ==
        Approx(6 * 20.97152e-6));
  // One head: the longest tile.
  CHECK(backward_seconds(gpu, shape(1, 512, 128, 128, true), {.sms = 100}) ==
        Approx(4 * 20.97152e-6));
}

TEST_CASE("attention moves each operand once", "[cost]") {
  const AttentionShape s = shape(2, 100, 192, 128, true);
  CHECK(attention_forward_bytes(s).count() == 2 * 100 * 2 * (192 + 128) * 2);
  CHECK(attention_preprocess_bytes(s).count() == 2 * 100 * (2 * 128 * 2 + 192 * 4));
  CHECK(attention_postprocess_bytes(s).count() == 2 * 100 * 192 * 6);
  CHECK(attention_backward_bytes(s).count() == 2 * 100 * (3 * (192 + 128) * 2 + 2 * 192 * 4));
  AttentionShape grouped = shape(8, 100, 128, 128, true);
  grouped.kv_heads = 2;
  CHECK(attention_forward_bytes(grouped).count() == (8 + 2) * 100 * 256 * 2);
}

TEST_CASE("attention is never faster than the roofline, and grows with its work", "[cost]") {
  const GpuSpec gpu = h800();
  for (const bool causal : {false, true})
    for (const int64_t length : {128, 500, 1000, 4096, 16384})
      for (const int64_t heads : {1, 7, 16, 128})
        for (const int64_t sms : {20, 112, 132}) {
          const AttentionShape s = shape(heads, length, 192, 128, causal);
          const GpuShare share = {.sms = sms};
          const double peak = 989e12 * static_cast<double>(sms) / 132;
          const double forward = forward_seconds(gpu, s, share);
          const double backward = backward_seconds(gpu, s, share);
          CHECK(forward > attention_forward_flops(s).count() / peak);
          CHECK(backward > attention_backward_flops(s).count() / peak);
          CHECK(forward > static_cast<double>(attention_forward_bytes(s).count()) / 3352e9);
          CHECK(backward > static_cast<double>(attention_backward_bytes(s).count()) / 3352e9);
          CHECK(forward_seconds(gpu, s, {.sms = sms + 1}) <= forward);
          CHECK(backward_seconds(gpu, s, {.sms = sms + 1}) <= backward);
          for (const AttentionShape& larger :
               {shape(heads + 1, length, 192, 128, causal),
                shape(heads, length + 1, 192, 128, causal), shape(heads, length, 193, 128, causal),
                shape(heads, length, 192, 129, causal)}) {
            CHECK(forward_seconds(gpu, larger, share) >= forward);
            CHECK(backward_seconds(gpu, larger, share) >= backward);
          }
        }
}

TEST_CASE("A kernel that does not skip the blocks outside a window takes the time of all",
          "[cost]") {
  GpuSpec gpu = h800();
  AttentionKernelSpec kernel = gpu.attention_backward;
  AttentionShape s{.batch = 2, .heads = 64, .kv_heads = 8, .length = 8192, .d_qk = 64, .d_v = 64};
  const double whole = attention_backward_seconds(gpu, kernel, s, whole_gpu(gpu));
  s.window = 1024;
  // 9 of 64 blocks a row at most: less than a quarter of the causal half.
  CHECK(attention_backward_seconds(gpu, kernel, s, whole_gpu(gpu)) < 0.3 * whole);
  kernel.skips_window.value = 0;
  CHECK(attention_backward_seconds(gpu, kernel, s, whole_gpu(gpu)) == Approx(whole));
}

TEST_CASE("the forward follows FlashAttention-3's H100 figure", "[cost][accuracy]") {
  // arXiv 2407.08608 Figure 5, H100 SXM5: TFLOP/s at 512, 1024, ... 16384, 16k tokens in all and
  // heads * head dimension = 2048.
  struct Row {
    int64_t dim;
    bool causal;
    double tflops[6];
  };
  const Row rows[] = {
      {64, false, {333, 392, 460, 476, 496, 497}},  {64, true, {197, 265, 371, 420, 460, 473}},
      {128, false, {467, 565, 625, 638, 646, 648}}, {128, true, {292, 423, 521, 579, 602, 616}},
      {256, false, {482, 639, 707, 736, 746, 756}}, {256, true, {286, 427, 537, 612, 628, 642}}};
  std::vector<double> errors;
  for (const Row& r : rows)
    for (int i = 0; i < 6; ++i) {
      const int64_t length = int64_t{512} << i;
      AttentionShape s = shape(2048 / r.dim, length, r.dim, r.dim, r.causal);
      s.batch = 16384 / length;
      const double published = attention_forward_flops(s).count() / (r.tflops[i] * 1e12);
      const double error = forward_seconds(h800(), s, {.sms = 132}) / published - 1;
      CAPTURE(r.dim, r.causal, length, error);
      CHECK(std::abs(error) < (r.causal && length <= 1024 ? 0.2 : 0.1));
      errors.push_back(std::abs(error));
    }
  std::sort(errors.begin(), errors.end());
  CHECK(errors[errors.size() / 2] < 0.04);
}

TEST_CASE("the backward follows FlashAttention-3's H100 figure", "[cost][accuracy]") {
  // The same paper's backward figure, head dimension 128, full attention: all three kernels.
  const std::pair<int64_t, double> rows[] = {
      {512, 316}, {1024, 424}, {2048, 501}, {8192, 559}, {16384, 561}};
  for (const auto& [length, tflops] : rows) {
    AttentionShape s = shape(16, length, 128, 128, false);
    s.batch = 16384 / length;
    const GpuShare all = {.sms = 132};
    const double seconds = attention_preprocess_seconds(h800(), s, all) +
                           backward_seconds(h800(), s, all) +
                           attention_postprocess_seconds(h800(), s, all);
    CAPTURE(length);
    CHECK(seconds == Approx(attention_backward_flops(s).count() / (tflops * 1e12)).epsilon(0.05));
  }
}

TEST_CASE("attention in DeepSeek's H800 training trace, not fitted", "[cost][accuracy]") {
  // DeepSeek profile-data train.json, 112 SMs: means of 1248, 1199, 1280, 1221 and of 3583, 3863,
  // 3809, 3860 us; the pre- and postprocess kernels are in the fit of AccessPattern::kStream.
  const GpuShare share = {.sms = 112};
  const GpuSpec gpu = h800();
  CHECK(1e6 * forward_seconds(gpu, kDeepSeekV3, share) == Approx(1237).epsilon(0.07));
  CHECK(1e6 * backward_seconds(gpu, kDeepSeekV3, share) == Approx(3779).epsilon(0.05));
  CHECK(1e6 * attention_preprocess_seconds(gpu, kDeepSeekV3, share) == Approx(256).epsilon(0.06));
  CHECK(1e6 * attention_postprocess_seconds(gpu, kDeepSeekV3, share) == Approx(219).epsilon(0.06));
}
