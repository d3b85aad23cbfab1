// Shape of grouped-query attention, without CUDA.
#pragma once

#include <cstdint>

namespace orrery::kernels {

// `batch` sequences of `seq` tokens; token t = sequence · seq + position. Query head h reads key
// and value head h / (heads / kv_heads). q is [batch · seq, heads, d_qk], k [.., kv_heads, d_qk],
// v [.., kv_heads, d_v] and out [.., heads, d_v], each with a row stride of its own.
struct AttentionShape {
  int64_t batch = 0, seq = 0;
  int64_t heads = 0, kv_heads = 0;  // kv_heads divides heads
  int64_t d_qk = 0, d_v = 0;        // width of a head
  // Causal: a query sees the keys at or before it. Else the keys are those of another part of the
  // sequences, as the steps of a context-parallel ring bring them: queries from first_query on see
  // the first `keys` (above 0), the others none.
  bool causal = true;
  int64_t first_query = 0, keys = 0;
  constexpr int64_t group() const { return heads / kv_heads; }
  constexpr int64_t tokens() const { return batch * seq; }
};

// Outputs over parts of the keys that can be merged at a time (attention_merge.h).
constexpr int kMaxMergedParts = 64;

}  // namespace orrery::kernels
