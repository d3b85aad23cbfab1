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

}  // namespace orrery::kernels
