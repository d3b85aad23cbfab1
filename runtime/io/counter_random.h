// Random numbers that are a function of a counter, so that any of them can be had without the ones
// before it, and the same on every machine (the distributions of <random> are not).
#pragma once

#include <bit>
#include <cstdint>

namespace orrery {

constexpr uint64_t kGoldenGamma = 0x9E3779B97F4A7C15;  // 2^64 / the golden ratio, odd

// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014: the output of
// SplitMix64 whose state was `x` before the step. A bijection.
constexpr uint64_t splitmix64(uint64_t x) {
  x += kGoldenGamma;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// The key of stream `stream` under `key`; the streams of a key are unrelated.
constexpr uint64_t stream_key(uint64_t key, uint64_t stream) {
  return splitmix64(key ^ splitmix64(stream));
}

// Number `counter` of the stream `key`: SplitMix64 started at `key`.
constexpr uint64_t counter_random(uint64_t key, uint64_t counter) {
  return splitmix64(key + counter * kGoldenGamma);
}

// `random` as a uniform value in [-1, 1), of 24 bits.
constexpr double symmetric(uint64_t random) {
  return static_cast<double>(random >> 40) * 0x1p-23 - 1.0;
}

// `random` scaled to [0, n), n > 0; Lemire's multiply-and-shift without its rejection, which leaves
// a bias of at most n / 2^64.
constexpr uint64_t scaled_below(uint64_t random, uint64_t n) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(random) * n) >> 64);
}

// Where a permutation of [0, n) that `key` selects puts `i` < n. A Feistel network of 8 rounds over
// the smallest domain 4^h >= n, whose round function is SplitMix64, walked along its cycle until it
// is back below n (Black, Rogaway, "Ciphers with arbitrary finite domains", 2002): fewer than 4
// steps on average, and no table.
constexpr uint64_t permuted(uint64_t key, uint64_t n, uint64_t i) {
  constexpr int kRounds = 8;
  const int half = n <= 1 ? 1 : (static_cast<int>(std::bit_width(n - 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = i >> half;
    uint64_t right = i & mask;
    for (int round = 0; round < kRounds; ++round) {
      const uint64_t mixed = counter_random(stream_key(key, static_cast<uint64_t>(round)), right);
      const uint64_t next = left ^ (mixed & mask);
      left = right;
      right = next;
    }
    i = (left << half) | right;
  } while (i >= n);
  return i;
}

}  // namespace orrery
