// Cross-entropy of a softmax, and its gradient, in plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace orrery::kernels {

// row_loss[r] = -log softmax(logits[r])[labels[r]]; *loss_sum += their sum; logits [rows, vocab]
// become (softmax - onehot(label)) · scale. A row of label -1 is ignored: loss and gradient 0.
template <class T>
void cross_entropy_reference(int64_t rows, int64_t vocab, T* logits, const int32_t* labels, T scale,
                             T* row_loss, T* loss_sum) {
  double total = 0;
  for (int64_t r = 0; r < rows; ++r) {
    T* row = logits + r * vocab;
    if (labels[r] < 0) {
      std::fill(row, row + vocab, T(0));
      row_loss[r] = 0;
      continue;
    }
    const double largest = static_cast<double>(*std::max_element(row, row + vocab));
    double sum = 0;
    for (int64_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(row[v]) - largest);
    const double loss = std::log(sum) + largest - static_cast<double>(row[labels[r]]);
    for (int64_t v = 0; v < vocab; ++v) {
      const double softmax = std::exp(static_cast<double>(row[v]) - largest) / sum;
      row[v] = static_cast<T>((softmax - (v == labels[r] ? 1 : 0)) * static_cast<double>(scale));
    }
    row_loss[r] = static_cast<T>(loss);
    total += loss;
  }
  *loss_sum += static_cast<T>(total);
}

// Over a vocabulary split between ranks, of this rank's part logits [rows, vocab] and labels in it
// (-1: in another part): part[r] = {largest logit, sum of exponentials of the logits less it, the
// label's logit or 0}.
constexpr int64_t kCrossEntropyParts = 3;
template <class T>
void cross_entropy_part_reference(int64_t rows, int64_t vocab, const T* logits,
                                  const int32_t* labels, T* part) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = logits + r * vocab;
    const double largest = static_cast<double>(*std::max_element(row, row + vocab));
    double sum = 0;
    for (int64_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(row[v]) - largest);
    T* out = part + r * kCrossEntropyParts;
    out[0] = static_cast<T>(largest);
    out[1] = static_cast<T>(sum);
    out[2] = labels[r] < 0 ? T(0) : row[labels[r]];
  }
}

// The loss from the parts [ways, rows, 3] of all ranks, and this rank's columns of its gradient, as
// cross_entropy_reference has them.
template <class T>
void cross_entropy_merge_reference(int64_t rows, int64_t vocab, int64_t ways, T* logits,
                                   const int32_t* labels, const T* parts, T scale, T* row_loss,
                                   T* loss_sum) {
  double total = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const auto part = [&](int64_t w, int i) {
      return static_cast<double>(parts[(w * rows + r) * kCrossEntropyParts + i]);
    };
    double largest = part(0, 0), sum = 0, label = 0;
    for (int64_t w = 1; w < ways; ++w) largest = std::max(largest, part(w, 0));
    for (int64_t w = 0; w < ways; ++w) {
      sum += part(w, 1) * std::exp(part(w, 0) - largest);
      label += part(w, 2);
    }
    const double loss = std::log(sum) + largest - label;
    T* row = logits + r * vocab;
    for (int64_t v = 0; v < vocab; ++v) {
      const double softmax = std::exp(static_cast<double>(row[v]) - largest) / sum;
      row[v] = static_cast<T>((softmax - (v == labels[r] ? 1 : 0)) * static_cast<double>(scale));
    }
    row_loss[r] = static_cast<T>(loss);
    total += loss;
  }
  *loss_sum += static_cast<T>(total);
}

}  // namespace orrery::kernels
