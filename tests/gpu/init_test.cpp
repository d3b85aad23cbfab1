#include "kernels/init/initial_weights.h"
#include "kernels/init/normal.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

TEST_CASE("initial_weights: the host's bits, and the owned part of the master weights",
          "[gpu][init]") {
  constexpr int64_t kGroups = 3, kEach = 5000, kBegin = 4000, kEnd = 11000;
  const DeviceBuffer<bf16> out_d(kGroups * kEach);
  const DeviceBuffer<float> master_d(kEnd - kBegin);
  for (const bool random : {true, false}) {
    launched(initial_weights({.groups = kGroups,
                              .each = kEach,
                              .key = 42,
                              .first_expert = 7,
                              .random = random,
                              .sigma = 0.02,
                              .constant = 1,
                              .out = out_d.get(),
                              .master = master_d.get(),
                              .master_begin = kBegin,
                              .master_end = kEnd},
                             nullptr));
    std::vector<bf16> want;
    std::vector<float> want_master;
    for (int64_t i = 0; i < kGroups * kEach; ++i) {
      const uint64_t key = expert_key(42, 7 + i / kEach);
      const float x =
          random ? round_to_bf16(0.02 * normal(key, static_cast<uint64_t>(i % kEach))) : 1.0f;
      want.push_back(bf16(x));
      if (i >= kBegin && i < kEnd) want_master.push_back(x);
    }
    REQUIRE(same_bits(out_d.download(), want));
    REQUIRE(same_bits(master_d.download(), want_master));
    out_d.check_canaries();
    master_d.check_canaries();
  }
}

TEST_CASE("initial_weights: shards are parts of the whole matrix", "[gpu][init]") {
  constexpr int64_t kRows = 12, kCols = 40, kWays = 4;
  const auto made = [](int64_t each, WeightShard shard) {
    const DeviceBuffer<bf16> out_d(static_cast<std::size_t>(each));
    launched(initial_weights(
        {.groups = 1, .each = each, .shard = shard, .key = 5, .sigma = 1, .out = out_d.get()},
        nullptr));
    out_d.check_canaries();
    return out_d.download();
  };
  const std::vector<bf16> whole = made(kRows * kCols, {});
  const auto at = [&](int64_t r, int64_t c) {
    return whole[static_cast<std::size_t>(r * kCols + c)];
  };
  constexpr int64_t kEach = kRows * kCols / kWays, kWidth = kCols / kWays;
  for (int64_t shard = 0; shard < kWays; ++shard) {
    std::vector<bf16> rows, cols, parts;
    for (int64_t i = 0; i < kEach; ++i) {
      rows.push_back(at(shard * kRows / kWays + i / kCols, i % kCols));
      cols.push_back(at(i / kWidth, shard * kWidth + i % kWidth));
    }
    // Gate and up: a row of each of 4 rows of the one and two each of 8 of the other.
    for (const int64_t r : {shard, 4 + 2 * shard, 5 + 2 * shard})
      for (int64_t c = 0; c < kCols; ++c) parts.push_back(at(r, c));
    CHECK(same_bits(made(kEach, {kWays, shard, kEach, kEach}), rows));
    CHECK(same_bits(made(kEach, {kWays, shard, kWidth, kWidth}), cols));
    CHECK(same_bits(made(kEach, {kWays, shard, kEach, kCols}), parts));
  }
}

TEST_CASE("initial_weights names bad arguments", "[gpu][init]") {
  CHECK(initial_weights({.groups = 1, .each = 1}, nullptr).error == "initial_weights: out is null");
}
