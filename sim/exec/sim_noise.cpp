#include "sim/exec/sim_noise.h"

#include <algorithm>

namespace orrery {

namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

uint64_t finalized(uint64_t h) {
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
  return h ^ (h >> 31);
}

double at(const std::vector<double>& v, std::size_t i) { return i < v.size() ? v[i] : 1; }

}  // namespace

uint64_t hashed(uint64_t x) { return finalized(x + kGolden); }

double normal_from(uint64_t x) {
  double z = -6;
  for (int i = 0; i < 12; ++i) {
    x += kGolden;
    z += static_cast<double>(finalized(x) >> 11) * 0x1.0p-53;
  }
  return z;
}

double SimNoise::compute_factor(std::size_t cls, int64_t rank) const {
  return at(compute, cls * static_cast<std::size_t>(ranks) + static_cast<std::size_t>(rank));
}

double SimNoise::network_factor(std::size_t cls, int64_t rank) const {
  return at(network, cls * static_cast<std::size_t>(ranks) + static_cast<std::size_t>(rank));
}

double SimNoise::rows_factor(int layer, int64_t rank) const {
  if (layer < 0) return 1;
  return at(rows, static_cast<std::size_t>(layer) * static_cast<std::size_t>(ranks) +
                      static_cast<std::size_t>(rank));
}

double SimNoise::jitter(std::size_t cls, int64_t rank, uint32_t call, uint32_t op) const {
  if (op_jitter <= 0) return 1;
  const uint64_t who = (static_cast<uint64_t>(cls) << 32) | static_cast<uint64_t>(rank);
  const uint64_t what = (static_cast<uint64_t>(call) << 32) | op;
  return std::max(0.1, 1 + op_jitter * normal_from(hashed(hashed(seed) ^ who) ^ what));
}

}  // namespace orrery
