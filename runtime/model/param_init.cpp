#include "runtime/model/param_init.h"

#include <bit>

#include "runtime/model/param_shard.h"

namespace orrery {
namespace {

// Stafford's mix 13 of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t key_of(const Param& p, uint64_t seed, int64_t expert) {
  uint64_t h = mix(seed);
  for (char c : p.name) h = mix(h ^ static_cast<unsigned char>(c));
  h = mix(h ^ static_cast<uint64_t>(static_cast<uint32_t>(p.layer)));
  return mix(h ^ static_cast<uint64_t>(expert));
}

// Twelve 16-bit uniforms less their mean: variance 1.
double normal(uint64_t key, uint64_t index) {
  int64_t sum = 0;
  for (uint64_t i = 0; i < 3; ++i) {
    uint64_t bits = mix(key ^ (index * 3 + i));
    for (int j = 0; j < 4; ++j) sum += static_cast<int64_t>(bits & 0xffff), bits >>= 16;
  }
  return static_cast<double>(sum) / 65536.0 - 6.0 + 12 * 0.5 / 65536.0;
}

float round_to_bf16(double x) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return std::bit_cast<float>(rounded & 0xffff0000U);
}

}  // namespace

void initial_weights(const Param& p, uint64_t seed, int64_t first_expert, int64_t shard,
                     double sigma, float* out) {
  const int64_t each = p.count() / p.groups;
  for (int64_t g = 0; g < p.groups; ++g) {
    const uint64_t key = key_of(p, seed, first_expert + g);
    for (int64_t i = 0; i < each; ++i) {
      float& x = out[g * each + i];
      if (p.init == ParamInit::kNormal)
        x = round_to_bf16(sigma * normal(key, static_cast<uint64_t>(whole_index(p, shard, i))));
      else
        x = p.init == ParamInit::kOnes ? 1.0F : 0.0F;
    }
  }
}

}  // namespace orrery
