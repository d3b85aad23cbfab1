#include "sim/spec/noise.h"

namespace orrery {

const std::string_view kExpertDistributionNames[3] = {"uniform", "zipf", "histogram"};

namespace {

constexpr json::Range kSlowdown{1, 1000};
constexpr json::Range kIndex{0, 1 << 24};

void read_expert_load(json::Reader r, NoiseSpec& n) {
  n.has_expert_load = true;
  n.distribution =
      static_cast<ExpertDistribution>(r.choice("distribution", kExpertDistributionNames));
  if (n.distribution == ExpertDistribution::kZipf) n.exponent = r.number("exponent", {0, 4});
  if (n.distribution == ExpertDistribution::kHistogram) n.tokens = r.integers("tokens", {0, 1e15});
  r.finish();
}

std::vector<NoiseSpec::Slow> read_slow(json::Reader& r, const char* key, const char* index) {
  std::vector<NoiseSpec::Slow> out;
  if (!r.has(key)) return out;
  r.objects(key, [&](json::Reader& e) {
    NoiseSpec::Slow s;
    s.index = e.integer(index, kIndex);
    s.compute = e.number_or("compute", 1, kSlowdown);
    s.network = e.number_or("network", 1, kSlowdown);
    e.finish();
    out.push_back(s);
  });
  return out;
}

}  // namespace

NoiseSpec read_noise(json::Reader r) {
  NoiseSpec n;
  n.seed = static_cast<uint64_t>(r.integer_or("seed", 1, {0, 1e15}));
  n.simulated_ranks = r.integer_or("simulated_ranks", n.simulated_ranks, {1, 4096});
  if (r.has("expert_load")) read_expert_load(r.object("expert_load"), n);
  n.op_jitter = r.number_or("op_jitter", 0, {0, 0.5});
  n.slow_ranks = read_slow(r, "slow_ranks", "rank");
  n.slow_nodes = read_slow(r, "slow_nodes", "node");
  r.ignore("note");
  r.finish();
  return n;
}

}  // namespace orrery
