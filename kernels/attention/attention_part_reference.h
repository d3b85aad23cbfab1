// Attention over one of several blocks of keys, as the steps of a context-parallel ring see it, and
// the merge of such parts; in plain loops.
#pragma once

#include <limits>

#include "kernels/attention/attention_reference.h"

namespace orrery::kernels {

// attention_forward_reference of `seq` queries at the positions `query` of their sequence and as
// many keys at the positions `key`; a query sees the keys at or before it. Of a query that sees
// none the output is 0 and the log-sum-exp minus infinity.
template <class T>
void attention_part_reference(const AttentionShape& s, const std::vector<int64_t>& query,
                              const std::vector<int64_t>& key, double scale, const T* q,
                              int64_t ldq, const T* k, int64_t ldk, const T* v, int64_t ldv, T* out,
                              int64_t ldo, T* lse) {
  using namespace attention_detail;
  std::vector<double> p(static_cast<std::size_t>(s.seq)), row(static_cast<std::size_t>(s.d_v));
  for (int64_t t = 0; t < s.tokens(); ++t) {
    const int64_t first = t / s.seq * s.seq;
    const int64_t at = query[static_cast<std::size_t>(t - first)];
    for (int64_t h = 0; h < s.heads; ++h) {
      const T* kh = k + first * ldk + h / s.group() * s.d_qk;
      const T* vh = v + first * ldv + h / s.group() * s.d_v;
      double max = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::size_t j = 0; j < p.size(); ++j) {
        const auto offset = static_cast<int64_t>(j) * ldk;
        p[j] = key[j] <= at ? scale * dot(s.d_qk, q + t * ldq + h * s.d_qk, kh + offset)
                            : -std::numeric_limits<double>::infinity();
        max = std::max(max, p[j]);
      }
      std::fill(row.begin(), row.end(), 0.0);
      const bool any = std::isfinite(max);
      for (std::size_t j = 0; any && j < p.size(); ++j) sum += p[j] = std::exp(p[j] - max);
      for (std::size_t j = 0; any && j < p.size(); ++j)
        for (int64_t d = 0; d < s.d_v; ++d)
          row[static_cast<std::size_t>(d)] +=
              p[j] / sum * static_cast<double>(vh[static_cast<int64_t>(j) * ldv + d]);
      store(row, out + t * ldo + h * s.d_v);
      lse[t * s.heads + h] = static_cast<T>(any ? max + std::log(sum) : max);
    }
  }
}

// What these keys add to the gradients, from the output over all keys, its gradient and its
// log-sum-exp; overwritten as by attention_backward_reference.
template <class T>
void attention_part_backward_reference(const AttentionShape& s, const std::vector<int64_t>& query,
                                       const std::vector<int64_t>& key, double scale, const T* q,
                                       int64_t ldq, const T* k, int64_t ldk, const T* v,
                                       int64_t ldv, const T* out, int64_t ldo, const T* dout,
                                       int64_t lddo, const T* lse, T* dq, int64_t lddq, T* dk,
                                       int64_t lddk, T* dv, int64_t lddv) {
  using namespace attention_detail;
  for (int64_t t = 0; t < s.tokens(); ++t) {
    std::fill_n(dq + t * lddq, s.heads * s.d_qk, T(0));
    std::fill_n(dk + t * lddk, s.kv_heads * s.d_qk, T(0));
    std::fill_n(dv + t * lddv, s.kv_heads * s.d_v, T(0));
  }
  for (int64_t t = 0; t < s.tokens(); ++t) {
    const int64_t first = t / s.seq * s.seq;
    const int64_t at = query[static_cast<std::size_t>(t - first)];
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t g = h / s.group();
      const T* qi = q + t * ldq + h * s.d_qk;
      const T* doi = dout + t * lddo + h * s.d_v;
      const double delta = dot(s.d_v, doi, out + t * ldo + h * s.d_v);
      for (int64_t j = 0; j < s.seq; ++j) {
        if (key[static_cast<std::size_t>(j)] > at) continue;
        const T* kj = k + (first + j) * ldk + g * s.d_qk;
        const T* vj = v + (first + j) * ldv + g * s.d_v;
        const double score = scale * dot(s.d_qk, qi, kj);
        const double p = std::exp(score - static_cast<double>(lse[t * s.heads + h]));
        const double ds = scale * p * (dot(s.d_v, doi, vj) - delta);
        T* dkj = dk + (first + j) * lddk + g * s.d_qk;
        T* dvj = dv + (first + j) * lddv + g * s.d_v;
        T* dqi = dq + t * lddq + h * s.d_qk;
        for (int64_t d = 0; d < s.d_v; ++d)
          dvj[d] += static_cast<T>(p * static_cast<double>(doi[d]));
        for (int64_t d = 0; d < s.d_qk; ++d) {
          dkj[d] += static_cast<T>(ds * static_cast<double>(qi[d]));
          dqi[d] += static_cast<T>(ds * static_cast<double>(kj[d]));
        }
      }
    }
  }
}

// out = sum of the parts weighted by exp(their lse - lse), lse = log of the sum of exp(lse) over
// them. outs: [rows, heads, d_v], lses: [rows, heads].
template <class T>
void attention_merge_reference(int64_t rows, int64_t heads, int64_t d_v,
                               const std::vector<const T*>& outs, const std::vector<const T*>& lses,
                               T* out, T* lse) {
  for (int64_t i = 0; i < rows * heads; ++i) {
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    for (const T* l : lses) max = std::max(max, static_cast<double>(l[i]));
    for (const T* l : lses) sum += std::exp(static_cast<double>(l[i]) - max);
    const double total = max + std::log(sum);
    lse[i] = static_cast<T>(total);
    for (int64_t d = 0; d < d_v; ++d) {
      double x = 0;
      for (std::size_t p = 0; p < outs.size(); ++p)
        x += std::exp(static_cast<double>(lses[p][i]) - total) *
             static_cast<double>(outs[p][i * d_v + d]);
      out[i * d_v + d] = static_cast<T>(x);
    }
  }
}

}  // namespace orrery::kernels
