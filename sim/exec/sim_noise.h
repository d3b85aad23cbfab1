// What makes simulated ranks unequal, as factors on durations.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/base/units.h"

namespace orrery {

// Of the ranks that a run simulates: `ranks` of each class. Empty vectors: all factors are 1.
struct SimNoise {
  int64_t ranks = 0;            // of a class; 0: no noise
  std::vector<double> compute;  // [class * ranks + rank]
  std::vector<double> network;  // the same; a collective is as slow as its slowest member
  std::vector<double> rows;     // [layer * ranks + rank]: on work that grows with expert rows
  double op_jitter = 0;         // standard deviation over mean of every compute op
  uint64_t seed = 0;

  double compute_factor(std::size_t cls, int64_t rank) const;
  double network_factor(std::size_t cls, int64_t rank) const;
  double rows_factor(int layer, int64_t rank) const;
  // 1 + op_jitter times a draw from the normal distribution, for one op of one call on one rank.
  double jitter(std::size_t cls, int64_t rank, uint32_t call, uint32_t op) const;
};

// A draw from the normal distribution that is a function of `x`: twelve uniforms less six, which is
// normal to well beyond what 10^4 draws show. SplitMix64; no library distribution.
double normal_from(uint64_t x);
uint64_t hashed(uint64_t x);

}  // namespace orrery
