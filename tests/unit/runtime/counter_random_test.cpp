#include "runtime/io/counter_random.h"

#include <set>
#include <vector>

#include "tests/catch.h"

namespace orrery {
namespace {

TEST_CASE("counter_random is SplitMix64", "[io]") {
  // The first outputs of the reference implementation for seed 1234567.
  const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                               4593380528125082431u, 16408922859458223821u};
  for (uint64_t i = 0; i < 5; ++i) CHECK(counter_random(1234567, i) == expected[i]);
}

TEST_CASE("scaled_below covers its range evenly", "[io]") {
  std::vector<int> counts(10);
  for (uint64_t i = 0; i < 100'000; ++i) ++counts[scaled_below(counter_random(7, i), 10)];
  for (const int count : counts) CHECK(std::abs(count - 10'000) < 600);  // 6 sigma
  CHECK(scaled_below(~uint64_t{0}, 1) == 0);
  CHECK(scaled_below(~uint64_t{0}, ~uint64_t{0}) == ~uint64_t{0} - 1);
}

TEST_CASE("permuted is a permutation of any size", "[io]") {
  for (const uint64_t n : {1u, 2u, 3u, 4u, 5u, 16u, 17u, 63u, 64u, 65u, 1000u, 4096u, 4097u}) {
    for (uint64_t key = 0; key < 20; ++key) {
      std::set<uint64_t> seen;
      for (uint64_t i = 0; i < n; ++i) seen.insert(permuted(key, n, i));
      CAPTURE(n, key);
      CHECK(seen.size() == n);
      CHECK(*seen.rbegin() == n - 1);
    }
  }
  const uint64_t large = (uint64_t{1} << 40) + 1;
  CHECK(permuted(1, large, large - 1) < large);
}

TEST_CASE("permuted puts every index everywhere equally often", "[io]") {
  constexpr uint64_t kSize = 10;
  constexpr uint64_t kKeys = 20'000;
  std::vector<std::vector<double>> counts(kSize, std::vector<double>(kSize));
  for (uint64_t key = 0; key < kKeys; ++key) {
    for (uint64_t i = 0; i < kSize; ++i) counts[i][permuted(stream_key(3, key), kSize, i)] += 1;
  }
  double chi_squared = 0;
  const double expected = static_cast<double>(kKeys) / kSize;
  for (const auto& row : counts) {
    for (const double count : row) {
      chi_squared += (count - expected) * (count - expected) / expected;
    }
  }
  CHECK(chi_squared < 170);  // 81 degrees of freedom: 81 + 7 sigma
}

TEST_CASE("neighbours do not stay neighbours", "[io]") {
  constexpr uint64_t kSize = 100'000;
  int adjacent = 0;
  for (uint64_t i = 0; i + 1 < kSize; ++i) {
    adjacent += permuted(5, kSize, i + 1) == permuted(5, kSize, i) + 1 ? 1 : 0;
  }
  CHECK(adjacent < 10);  // 1 is expected
}

TEST_CASE("the numbers are the same on every machine and in every version", "[io]") {
  // A resumed run must go on with the order that it began with.
  CHECK(stream_key(1, 2) == 16171810823986729605u);
  CHECK(permuted(42, 1000, 0) == 449);
  CHECK(permuted(42, 1000, 999) == 392);
}

}  // namespace
}  // namespace orrery
