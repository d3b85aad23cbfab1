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

// out = softmax(scale · q·kᵀ, over the keys at or before the query) · v;
// lse[token, head] = natural log of the sum of the exponentials of the scaled scores.
template <class T>
void attention_forward_reference(const AttentionShape& s, double scale, const T* q, int64_t ldq,
                                 const T* k, int64_t ldk, const T* v, int64_t ldv, T* out,
                                 int64_t ldo, T* lse) {
  using namespace attention_detail;
  std::vector<double> p(static_cast<std::size_t>(s.seq));
  std::vector<double> row(static_cast<std::size_t>(s.d_v));
  for (int64_t t = 0; t < s.tokens(); ++t) {
    const int64_t first = t / s.seq * s.seq;  // token of the sequence's first key
    const int64_t keys = t - first + 1;
    for (int64_t h = 0; h < s.heads; ++h) {
      const T* kh = k + first * ldk + h / s.group() * s.d_qk;
      const T* vh = v + first * ldv + h / s.group() * s.d_v;
      double* pj = p.data();
      for (int64_t j = 0; j < keys; ++j)
        pj[j] = scale * dot(s.d_qk, q + t * ldq + h * s.d_qk, kh + j * ldk);
      const double max = *std::max_element(pj, pj + keys);
      double sum = 0;
      for (int64_t j = 0; j < keys; ++j) sum += pj[j] = std::exp(pj[j] - max);
      std::fill(row.begin(), row.end(), 0.0);
      for (int64_t j = 0; j < keys; ++j)
        for (int64_t d = 0; d < s.d_v; ++d)
          row[static_cast<std::size_t>(d)] += pj[j] / sum * static_cast<double>(vh[j * ldv + d]);
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
                                  int64_t lddq, T* dk, int64_t lddk, T* dv, int64_t lddv) {
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
          for (int64_t j = 0; j <= i; ++j) {
            const T* kj = k + (b * s.seq + j) * ldk + g * s.d_qk;
            const T* vj = v + (b * s.seq + j) * ldv + g * s.d_v;
            const double score = scale * dot(s.d_qk, qi, kj);
            const double p = std::exp(score - static_cast<double>(lse[t * s.heads + h]));
            const double ds = scale * p * (dot(s.d_v, doi, vj) - delta);
            for (int64_t d = 0; d < s.d_v; ++d)
              dv_sum[at(j * s.d_v + d)] += p * static_cast<double>(doi[d]);
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
