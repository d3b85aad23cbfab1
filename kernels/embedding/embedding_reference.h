// Embedding look-up in plain loops.
#pragma once

#include <cstdint>

namespace orrery::kernels {

// A token as the rank that holds [first, first + vocab) of the vocabulary counts it, or -1.
inline int64_t local_id(int64_t id, int64_t first, int64_t vocab) {
  return id >= first && id < first + vocab ? id - first : -1;
}

// out[r] = table[ids[r]], zeros for a negative id. out [rows, cols], table [vocab, cols].
template <class T>
void embedding_forward_reference(int64_t rows, int64_t cols, const int32_t* ids, const T* table,
                                 T* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      out[r * cols + c] = ids[r] < 0 ? T(0) : table[ids[r] * cols + c];
}

// grad[ids[r]] += dx[r] in order of rows; negative ids are skipped.
template <class T>
void embedding_backward_reference(int64_t rows, int64_t cols, const int32_t* ids, const T* dx,
                                  T* grad) {
  for (int64_t r = 0; r < rows; ++r) {
    if (ids[r] < 0) continue;
    for (int64_t c = 0; c < cols; ++c) grad[ids[r] * cols + c] += dx[r * cols + c];
  }
}

}  // namespace orrery::kernels
