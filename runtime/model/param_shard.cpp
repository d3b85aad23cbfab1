#include "runtime/model/param_shard.h"

namespace orrery {
namespace {

// Of the rows or columns that are split: `i` of `n` on this rank.
int64_t along(const ParamShard& s, int64_t shard, int64_t n, int64_t i) {
  const int64_t first = s.first == 0 ? n : s.first;
  if (i < first) return shard * first + i;
  return s.ways * first + shard * (n - first) + i - first;
}

}  // namespace

Param whole_param(const Param& p) {
  Param w = p;
  if (p.shard.axis == ShardAxis::kRows) w.rows *= p.shard.ways;
  if (p.shard.axis == ShardAxis::kCols) w.cols *= p.shard.ways;
  w.shard = {};
  return w;
}

int64_t whole_index(const Param& p, int64_t shard, int64_t index) {
  const int64_t row = index / p.cols, col = index % p.cols;
  switch (p.shard.axis) {
    case ShardAxis::kRows:
      return along(p.shard, shard, p.rows / p.groups, row) * p.cols + col;
    case ShardAxis::kCols:
      return row * p.cols * p.shard.ways + along(p.shard, shard, p.cols, col);
    default:
      return index;
  }
}

}  // namespace orrery
