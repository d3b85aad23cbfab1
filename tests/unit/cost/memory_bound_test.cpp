#include "sim/cost/memory_bound.h"

#include "tests/catch.h"
#include "tests/unit/cost/h800.h"

using namespace orrery;
using test::h800;
using test::number;
using test::round_gpu;

TEST_CASE("a memory-bound kernel takes its fixed time and that of its bytes", "[cost]") {
  GpuSpec gpu = round_gpu();
  gpu.kernel_fixed_us = number(3);
  gpu.hbm_efficiency[static_cast<int>(AccessPattern::kCast)] = number(0.5);
  // 10^9 bytes at 1000 GB/s: 1 ms; at half efficiency 2 ms, with half of the bandwidth 4 ms.
  const Bytes gigabyte(1000000000);
  const GpuShare all = whole_gpu(gpu);
  CHECK(all.sms == 100);
  CHECK(memory_bound_seconds(gpu, AccessPattern::kStream, gigabyte, all) == Approx(1.003e-3));
  CHECK(memory_bound_seconds(gpu, AccessPattern::kCast, gigabyte, all) == Approx(2.003e-3));
  CHECK(memory_bound_seconds(gpu, AccessPattern::kCast, gigabyte,
                             {.sms = 100, .hbm_fraction = 0.5}) == Approx(4.003e-3));
  CHECK(memory_bound_seconds(gpu, AccessPattern::kCast, Bytes(0), all) == Approx(3e-6));
}

TEST_CASE("no pattern beats the HBM, and more bytes take longer", "[cost]") {
  const GpuSpec gpu = h800();
  for (int i = 0; i < kAccessPatterns; ++i) {
    const auto pattern = static_cast<AccessPattern>(i);
    const double seconds = memory_bound_seconds(gpu, pattern, Bytes(100 << 20), whole_gpu(gpu));
    CHECK(seconds > (100 << 20) / 3352e9);
    CHECK(memory_bound_seconds(gpu, pattern, Bytes(101 << 20), whole_gpu(gpu)) > seconds);
  }
}

TEST_CASE("kernels of DeepSeek's H800 training trace, held-out layers", "[cost][accuracy]") {
  // DeepSeek profile-data train.json, layers 2 and 3 (the constants fit layers 0 and 1).
  const GpuSpec gpu = h800();
  const auto micros = [&](AccessPattern pattern, int64_t bytes) {
    return 1e6 * memory_bound_seconds(gpu, pattern, Bytes(bytes), whole_gpu(gpu));
  };
  const int64_t tokens = 4096;
  const int64_t hidden = 7168;
  // BF16 in, FP8 out with one FP32 scale per 128: 50.1 us.
  CHECK(micros(AccessPattern::kCast, tokens * hidden * 3 + tokens * hidden / 32) ==
        Approx(50.1).epsilon(0.1));
  // FP8 weights of 4 experts, 4096 x 7168 each, read and written: 90.2 us.
  CHECK(micros(AccessPattern::kTranspose, 2 * 4 * 4096 * hidden) == Approx(90.2).epsilon(0.1));
  // 32896 expert rows reduced to 30584 arrived ones, BF16: 362 us.
  CHECK(micros(AccessPattern::kGather, (32896 + 30584) * hidden * 2) == Approx(362).epsilon(0.1));
  // 128 heads x 128 columns of a wider row copied: 97.5 us.
  CHECK(micros(AccessPattern::kStream, tokens * 128 * 128 * 4) == Approx(97.5).epsilon(0.1));
  // RoPE of q in place, 128 heads x 64 columns: 119.8 us.
  CHECK(micros(AccessPattern::kStrided, tokens * 128 * 64 * 4) == Approx(119.8).epsilon(0.1));
  // SwiGLU of 28416 expert rows, forward and backward with three outputs of 2048: 277 us.
  CHECK(micros(AccessPattern::kGatedMap, int64_t{28416} * 2 * (5 * 2048 + 2 * 2048)) ==
        Approx(277).epsilon(0.2));
}

TEST_CASE("What a kernel reads from L2 takes none of HBM's time, but of L2's", "[cost]") {
  GpuSpec gpu = orrery::test::h800();
  gpu.hbm_bandwidth_GBps.value = 4000, gpu.l2_bandwidth_GBps.value = 8000;
  gpu.hbm_efficiency[static_cast<std::size_t>(AccessPattern::kStream)].value = 0.8;
  gpu.kernel_fixed_us.value = 2;
  const auto us = [&](double clock, double in_l2) {
    GpuShare share = whole_gpu(gpu);
    share.clock = clock, share.in_l2 = in_l2;
    return 1e6 * memory_bound_seconds(gpu, AccessPattern::kStream, Bytes(32'000'000), share);
  };
  // 32 MB at 3200 GB/s: 10 us.
  CHECK(us(0, 0) == Approx(2 + 10));
  CHECK(us(0, 0.25) == Approx(2 + 7.5));
  // L2 moves all of it in 4 us.
  CHECK(us(0, 0.75) == Approx(2 + 4));
  // At half the clock the start takes twice as long, HBM as long as before, L2 8 us.
  CHECK(us(0.5, 0) == Approx(4 + 10));
  CHECK(us(0.5, 0.75) == Approx(4 + 8));
  // A slow L2 is not used instead of HBM.
  CHECK(us(0.25, 0.75) == Approx(8 + 10));
}
