// How a flat array of weights is divided over the ranks that split its optimizer states.
#pragma once

#include <algorithm>
#include <cstdint>

namespace orrery {

// Equal matrices [rows, cols] that follow each other without gaps.
struct MatrixStack {
  int64_t rows = 0, cols = 0, count = 0;

  bool empty() const { return count == 0; }
  int64_t elements_of_one() const { return rows * cols; }
};

struct ShardRange {
  int64_t begin = 0, elements = 0;
};

// Shard `i` of `shards`: equal parts of the elements; of a stack whole matrices, one more in each
// of the first (count mod shards) shards, so that the first is never smaller than another and the
// last may have none.
inline ShardRange shard_range(int64_t elements, const MatrixStack& stack, int64_t shards,
                              int64_t i) {
  if (stack.empty()) return {i * (elements / shards), elements / shards};
  const int64_t each = stack.count / shards, more = stack.count % shards;
  const int64_t one = stack.elements_of_one();
  return {(i * each + std::min(i, more)) * one, (each + (i < more ? 1 : 0)) * one};
}

}  // namespace orrery
