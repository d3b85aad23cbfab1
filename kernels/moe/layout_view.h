// The packed int32 tensors of a mixture-of-experts layer, for kernels and host code alike.
//
// routing [tokens, 3k]: of every token the ids of its k experts, the k routing weights (bits of
// floats) and the k scores that the weights were made of (bits of floats).
// Arrived routing [arrived, 2k]: of every row that reached this rank the local ids of its experts
// (-1: on another rank) and the k routing weights (bits of floats).
//
// Whoever reads arrived routing takes a row stride and the id of the first local expert: an id
// that is not in [first_expert, first_expert + local_experts) is on another rank. So a rank that
// holds all experts passes its `routing` with a stride of 3k.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace orrery::kernels {

constexpr int64_t kMaxTopK = 32;
constexpr int64_t kMaxExperts = 1024;
constexpr int64_t kRoutingWords = 3;         // int32 words per token and chosen expert
constexpr int64_t kArrivedRoutingWords = 2;  // likewise, of arrived routing

constexpr int32_t float_to_word(float x) { return std::bit_cast<int32_t>(x); }
constexpr float word_to_float(int32_t word) { return std::bit_cast<float>(word); }

// One row per (arrived row, slot whose expert is local), grouped by expert and within an expert in
// the order of arrival; every group starts at a multiple of the alignment.
struct ExpertLayout {
  int32_t* offsets = nullptr;   // [local_experts + 1] first row of each expert, the padded total
  int32_t* row_slot = nullptr;  // [capacity] arrived row · k + slot, -1 for padding
  int32_t* slot_row = nullptr;  // [arrived · k] row, -1 when the slot's expert is not local
  float* row_weight = nullptr;  // [capacity] routing weight, 0 for padding
};

inline int64_t expert_layout_ints(int64_t arrived, int64_t k, int64_t local_experts,
                                  int64_t capacity) {
  return local_experts + 1 + 2 * capacity + arrived * k;
}

inline ExpertLayout expert_layout_view(int32_t* base, int64_t arrived, int64_t k,
                                       int64_t local_experts, int64_t capacity) {
  ExpertLayout v;
  v.offsets = base;
  v.row_slot = v.offsets + local_experts + 1;
  v.slot_row = v.row_slot + capacity;
  v.row_weight = reinterpret_cast<float*>(v.slot_row + arrived * k);
  return v;
}

// Rows that suffice whatever the routing: every expert that gets a row at all is padded by less
// than `align`.
inline int64_t expert_layout_capacity(int64_t arrived, int64_t k, int64_t local_experts,
                                      int64_t align) {
  const int64_t rows = arrived * std::min(k, local_experts);
  const int64_t padded = rows + std::min(local_experts, rows) * (align - 1);
  return padded / align * align;
}

// One row per (token, rank that holds at least one of its experts), grouped by rank and within a
// rank in the order of tokens.
struct DispatchLayout {
  int32_t* send_rows = nullptr;         // [ranks + 1] first row to each rank, the total
  int32_t* send_expert_rows = nullptr;  // [ranks · local_experts] (token, slot) pairs per expert
  int32_t* send_token = nullptr;        // [tokens · min(k, ranks)] token of each row, then -1
  // [tokens · k] rows of each token in the order of ranks, then -1.
  int32_t* slot_of = nullptr;
};

inline int64_t dispatch_layout_ints(int64_t tokens, int64_t k, int64_t ranks,
                                    int64_t local_experts) {
  return ranks + 1 + ranks * local_experts + tokens * std::min(k, ranks) + tokens * k;
}

inline DispatchLayout dispatch_layout_view(int32_t* base, int64_t tokens, int64_t k, int64_t ranks,
                                           int64_t local_experts) {
  DispatchLayout v;
  v.send_rows = base;
  v.send_expert_rows = v.send_rows + ranks + 1;
  v.send_token = v.send_expert_rows + ranks * local_experts;
  v.slot_of = v.send_token + tokens * std::min(k, ranks);
  return v;
}

}  // namespace orrery::kernels
