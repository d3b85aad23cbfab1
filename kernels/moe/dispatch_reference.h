// The layout, packing and summing of expert-parallel dispatch and combine in plain loops. Expert e
// is on rank e / local_experts; `routing` is [tokens, 3k].
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

// Fills `out`, all of it.
inline void dispatch_layout_reference(int64_t tokens, int64_t k, int64_t ranks,
                                      int64_t local_experts, const int32_t* routing,
                                      const DispatchLayout& out) {
  const auto id = [&](int64_t t, int64_t slot) { return routing[t * kRoutingWords * k + slot]; };
  for (int64_t e = 0; e < ranks * local_experts; ++e) out.send_expert_rows[e] = 0;
  for (int64_t i = 0; i < tokens * std::min(k, ranks); ++i) out.send_token[i] = -1;
  for (int64_t i = 0; i < tokens * k; ++i) out.slot_of[i] = -1;
  int32_t row = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    out.send_rows[rank] = row;
    for (int64_t t = 0; t < tokens; ++t) {
      bool sent = false;
      for (int64_t slot = 0; slot < k; ++slot) {
        if (id(t, slot) / local_experts != rank) continue;
        ++out.send_expert_rows[id(t, slot)];
        sent = true;
      }
      if (!sent) continue;
      out.send_token[row] = static_cast<int32_t>(t);
      int64_t destination = 0;
      while (out.slot_of[t * k + destination] >= 0) ++destination;
      out.slot_of[t * k + destination] = row++;
    }
  }
  out.send_rows[ranks] = row;
}

// out[i] = x[send_token[i]] for i < rows (DispatchLayout::send_rows[ranks]); out [rows, cols].
template <class T>
void pack_rows_reference(int64_t rows, int64_t cols, const int32_t* send_token, const T* x,
                         T* out) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < cols; ++c) out[i * cols + c] = x[send_token[i] * cols + c];
}

// The routing of every sent row as its destination reads it: out [send_rows[ranks], 2k] with ids
// local to the destination, -1 and a weight of 0 for experts elsewhere.
inline void pack_routing_reference(int64_t k, int64_t ranks, int64_t local_experts,
                                   const int32_t* routing, const DispatchLayout& layout,
                                   int32_t* out) {
  for (int64_t rank = 0; rank < ranks; ++rank)
    for (int64_t i = layout.send_rows[rank]; i < layout.send_rows[rank + 1]; ++i)
      for (int64_t slot = 0; slot < k; ++slot) {
        const int32_t* of_token = routing + layout.send_token[i] * kRoutingWords * k;
        const bool there = of_token[slot] / local_experts == rank;
        int32_t* packed = out + i * kArrivedRoutingWords * k;
        packed[slot] = there ? static_cast<int32_t>(of_token[slot] - rank * local_experts) : -1;
        packed[k + slot] = there ? of_token[k + slot] : 0;
      }
}

// out[t] = sum in the order of ranks of the rows that came back for token t, received
// [send_rows[ranks], cols] in the order in which they were sent, + addend[t] (may be nullptr).
template <class T>
void combine_rows_reference(int64_t tokens, int64_t cols, int64_t k, const int32_t* slot_of,
                            const T* received, const T* addend, T* out) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j) {
        const int64_t row = slot_of[t * k + j];
        if (row >= 0) sum += static_cast<double>(received[row * cols + c]);
      }
      if (addend != nullptr) sum += static_cast<double>(addend[t * cols + c]);
      out[t * cols + c] = static_cast<T>(sum);
    }
}

// out[t, slot] = received[row, slot] with the row that went to the rank of the slot's expert; out
// [tokens, k], received [send_rows[ranks], k].
template <class T>
void combine_weights_reference(int64_t tokens, int64_t k, int64_t local_experts,
                               const int32_t* routing, const DispatchLayout& layout,
                               const T* received, T* out) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t slot = 0; slot < k; ++slot) {
      const int64_t rank = routing[t * kRoutingWords * k + slot] / local_experts;
      for (int64_t j = 0; j < k; ++j) {
        const int64_t row = layout.slot_of[t * k + j];
        if (row >= layout.send_rows[rank] && row < layout.send_rows[rank + 1])
          out[t * k + slot] = received[row * k + slot];
      }
    }
}

}  // namespace orrery::kernels
