// Causal grouped-query attention in plain loops. Everything is computed in double and rounded to T
// where it is stored. Strides (ld*) are in elements from one token to the next.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention/shape.h"

namespace orrery::kernels {

namespace attention_detail {

template <class T>
double dot(int64_t n, const T* a, const T* b) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

template <class T>
void store(const std::vector<double>& row, T* out) {
  for (std::size_t i = 0; i < row.size(); ++i) out[i] = static_cast<T>(row[i]);
}

}  // namespace attention_detail

// Slope of head h of n heads (arXiv 2108.12409): 2^(-8·i/n), i = 1..n, for a power of two; else of
// the next one N every second slope, from the second on and then from the first.
inline double alibi_slope(int64_t h, int64_t n) {
  int64_t power = 1;
  while (power < n) power *= 2;
  int64_t i = h + 1;
  if (power != n) i = h < power / 2 ? 2 * h + 2 : 2 * (h - power / 2) + 1;
  return std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(power));
}

// What changes the scores of causal attention.
template <class T>
struct AttentionScores {
  int64_t window = 0;        // keys before and at each query; 0: all
  bool alibi = false;        // adds alibi_slope · (key - query) to the scaled scores
  const T* sinks = nullptr;  // [heads], logits that take part in the softmax without a value
  T* sink_grads = nullptr;   // backward: added to
  // Dropout of the probabilities: their factors [tokens, heads, seq], 0 or 1 / (1 - rate). The
  // log-sum-exp is that of all scores.
  const T* dropout = nullptr;

  int64_t first_key(int64_t query) const {
    return window > 0 ? std::max<int64_t>(0, query - window + 1) : 0;
  }
  double bias(int64_t head, int64_t heads, int64_t query, int64_t key) const {
    return alibi ? alibi_slope(head, heads) * static_cast<double>(key - query) : 0;
  }
  double kept(const AttentionShape& s, int64_t token, int64_t head, int64_t key) const {
    if (dropout == nullptr) return 1;
    return static_cast<double>(dropout[(token * s.heads + head) * s.seq + key]);
  }
};

// out = softmax(scale · q·kᵀ, over the keys at or before the query) · v;
// lse[token, head] = natural log of the sum of the exponentials of the scaled scores.
template <class T>
void attention_forward_reference(const AttentionShape& s, double scale, const T* q, int64_t ldq,
                                 const T* k, int64_t ldk, const T* v, int64_t ldv, T* out,
                                 int64_t ldo, T* lse, const AttentionScores<T>& scores = {}) {
  using namespace attention_detail;
  std::vector<double> p(static_cast<std::size_t>(s.seq));
  std::vector<double> row(static_cast<std::size_t>(s.d_v));
  for (int64_t t = 0; t < s.tokens(); ++t) {
    const int64_t first = t / s.seq * s.seq;  // token of the sequence's first key
    const int64_t keys = t - first + 1, begin = scores.first_key(t - first);
    for (int64_t h = 0; h < s.heads; ++h) {
      const T* kh = k + first * ldk + h / s.group() * s.d_qk;
      const T* vh = v + first * ldv + h / s.group() * s.d_v;
      double* pj = p.data();
      for (int64_t j = begin; j < keys; ++j)
        pj[j] = scale * dot(s.d_qk, q + t * ldq + h * s.d_qk, kh + j * ldk) +
                scores.bias(h, s.heads, keys - 1, j);
      double max = *std::max_element(pj + begin, pj + keys);
      if (scores.sinks != nullptr) max = std::max(max, static_cast<double>(scores.sinks[h]));
      double sum = 0;
      if (scores.sinks != nullptr) sum = std::exp(static_cast<double>(scores.sinks[h]) - max);
      for (int64_t j = begin; j < keys; ++j) sum += pj[j] = std::exp(pj[j] - max);
      std::fill(row.begin(), row.end(), 0.0);
      for (int64_t j = begin; j < keys; ++j) {
        const double weight = pj[j] / sum * scores.kept(s, t, h, j);
        for (int64_t d = 0; d < s.d_v; ++d)
          row[static_cast<std::size_t>(d)] += weight * static_cast<double>(vh[j * ldv + d]);
      }
      store(row, out + t * ldo + h * s.d_v);
      lse[t * s.heads + h] = static_cast<T>(max + std::log(sum));
    }
  }
}

// Gradients of q, k and v, overwritten, from the output, its gradient and the log-sum-exp; dk and
// dv are summed over the query heads that share a key head.
template <class T>
void attention_backward_reference(const AttentionShape& s, double scale, const T* q, int64_t ldq,
                                  const T* k, int64_t ldk, const T* v, int64_t ldv, const T* out,
                                  int64_t ldo, const T* dout, int64_t lddo, const T* lse, T* dq,
                                  int64_t lddq, T* dk, int64_t lddk, T* dv, int64_t lddv,
                                  const AttentionScores<T>& scores = {}) {
  using namespace attention_detail;
  const auto at = [](int64_t i) { return static_cast<std::size_t>(i); };
  // Of one sequence and one key head: [seq, d_qk] and [seq, d_v].
  std::vector<double> dk_sum(at(s.seq * s.d_qk)), dv_sum(at(s.seq * s.d_v));
  std::vector<double> dq_row(at(s.d_qk));
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t g = 0; g < s.kv_heads; ++g) {
      std::fill(dk_sum.begin(), dk_sum.end(), 0.0);
      std::fill(dv_sum.begin(), dv_sum.end(), 0.0);
      for (int64_t h = g * s.group(); h < (g + 1) * s.group(); ++h) {
        for (int64_t i = 0; i < s.seq; ++i) {
          const int64_t t = b * s.seq + i;
          const T* qi = q + t * ldq + h * s.d_qk;
          const T* doi = dout + t * lddo + h * s.d_v;
          const double delta = dot(s.d_v, doi, out + t * ldo + h * s.d_v);
          std::fill(dq_row.begin(), dq_row.end(), 0.0);
          const double lse_row = static_cast<double>(lse[t * s.heads + h]);
          if (scores.sink_grads != nullptr)  // its value is 0
            scores.sink_grads[h] -=
                static_cast<T>(std::exp(static_cast<double>(scores.sinks[h]) - lse_row) * delta);
          for (int64_t j = scores.first_key(i); j <= i; ++j) {
            const T* kj = k + (b * s.seq + j) * ldk + g * s.d_qk;
            const T* vj = v + (b * s.seq + j) * ldv + g * s.d_v;
            const double score = scale * dot(s.d_qk, qi, kj) + scores.bias(h, s.heads, i, j);
            const double p = std::exp(score - lse_row);
            const double kept = scores.kept(s, t, h, j);
            const double ds = scale * p * (kept * dot(s.d_v, doi, vj) - delta);
            for (int64_t d = 0; d < s.d_v; ++d)
              dv_sum[at(j * s.d_v + d)] += p * kept * static_cast<double>(doi[d]);
            for (int64_t d = 0; d < s.d_qk; ++d) {
              dk_sum[at(j * s.d_qk + d)] += ds * static_cast<double>(qi[d]);
              dq_row[at(d)] += ds * static_cast<double>(kj[d]);
            }
          }
          store(dq_row, dq + t * lddq + h * s.d_qk);
        }
      }
      for (int64_t j = 0; j < s.seq; ++j) {
        const int64_t t = b * s.seq + j;
        for (int64_t d = 0; d < s.d_qk; ++d)
          dk[t * lddk + g * s.d_qk + d] = static_cast<T>(dk_sum[at(j * s.d_qk + d)]);
        for (int64_t d = 0; d < s.d_v; ++d)
          dv[t * lddv + g * s.d_v + d] = static_cast<T>(dv_sum[at(j * s.d_v + d)]);
      }
    }
  }
}

}  // namespace orrery::kernels
