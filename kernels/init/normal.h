// The random numbers that weights start from: a function of a key and an index alone, in integers
// and exact steps, so that host and device get the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace orrery::kernels {

// Stafford's mix 13 of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Key of expert number `expert` of a weight.
constexpr uint64_t expert_key(uint64_t weight_key, int64_t expert) {
  return mix(weight_key ^ static_cast<uint64_t>(expert));
}

// Twelve 16-bit uniforms less their mean: variance 1. Exact: a multiple of 2^-17 below 8.
constexpr double normal(uint64_t key, uint64_t index) {
  int64_t sum = 0;
  for (uint64_t i = 0; i < 3; ++i) {
    uint64_t bits = mix(key ^ (index * 3 + i));
    for (int j = 0; j < 4; ++j) sum += static_cast<int64_t>(bits & 0xffff), bits >>= 16;
  }
  return static_cast<double>(sum) / 65536.0 - 6.0 + 12 * 0.5 / 65536.0;
}

// To nearest even; for finite values.
constexpr float round_to_bf16(double x) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return std::bit_cast<float>(rounded & 0xffff0000U);
}

}  // namespace orrery::kernels
