// Which pairs of a query and a key an attention kernel computes.
#pragma once

#include "kernels/attention/shape.h"

namespace orrery::kernels::attention {

// Positions within a sequence.
struct Pairs {
  bool causal;
  int first_query, keys;  // as AttentionShape has them

  __device__ explicit Pairs(const AttentionShape& s)
      : causal(s.causal),
        first_query(static_cast<int>(s.first_query)),
        keys(static_cast<int>(s.keys)) {}

  __device__ bool hidden(int query, int key) const {
    return causal ? key > query : query < first_query || key >= keys;
  }
  // Whether some pair is hidden of the queries from `query` on with keys [key, key + count).
  __device__ bool some_hidden(int query, int key, int count) const {
    return causal ? key + count - 1 > query : query < first_query || key + count > keys;
  }
  // Whether all pairs are hidden of the queries before query_end with the keys from `key` on.
  __device__ bool all_hidden(int query_end, int key) const {
    return causal ? key >= query_end : query_end <= first_query || key >= keys;
  }
  // The queries before query_end see no key from here on.
  __device__ int key_end(int query_end) const {
    return causal ? query_end : query_end <= first_query ? 0 : keys;
  }
  // No query before this one sees a key from `key` on; seq: none does.
  __device__ int query_begin(int key, int seq) const {
    return causal ? key : key < keys ? first_query : seq;
  }
};

}  // namespace orrery::kernels::attention
