#include "runtime/model/param_init.h"

#include "kernels/init/normal.h"
#include "runtime/model/param_shard.h"

namespace orrery {

uint64_t weight_key(const Param& p, uint64_t seed) {
  uint64_t h = kernels::mix(seed);
  for (char c : p.name) h = kernels::mix(h ^ static_cast<unsigned char>(c));
  return kernels::mix(h ^ static_cast<uint64_t>(static_cast<uint32_t>(p.layer)));
}

void initial_weights(const Param& p, uint64_t seed, int64_t first_expert, int64_t shard,
                     double sigma, float* out) {
  const int64_t each = p.count() / p.groups;
  const uint64_t weight = weight_key(p, seed);
  for (int64_t g = 0; g < p.groups; ++g) {
    const uint64_t key = kernels::expert_key(weight, first_expert + g);
    for (int64_t i = 0; i < each; ++i) {
      float& x = out[g * each + i];
      if (p.init == ParamInit::kNormal)
        x = kernels::round_to_bf16(
            sigma * kernels::normal(key, static_cast<uint64_t>(whole_index(p, shard, i))));
      else
        x = p.init == ParamInit::kOnes ? 1.0F : 0.0F;
    }
  }
}

}  // namespace orrery
