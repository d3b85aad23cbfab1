// The router in plain loops; how experts are chosen and weighted is in router_config.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/moe/layout_view.h"
#include "kernels/moe/router_config.h"

namespace orrery::kernels {

// scores[e] of one token, [experts].
template <class T>
void router_scores_reference(const RouterConfig& c, const T* logits, T* scores) {
  if (c.score == RouterScore::kSigmoid) {
    for (int64_t e = 0; e < c.experts; ++e) scores[e] = T(1) / (T(1) + std::exp(-logits[e]));
    return;
  }
  T highest = logits[0];
  for (int64_t e = 1; e < c.experts; ++e)
    if (logits[e] > highest) highest = logits[e];
  double sum = 0;
  for (int64_t e = 0; e < c.experts; ++e) {
    scores[e] = std::exp(logits[e] - highest);
    sum += static_cast<double>(scores[e]);
  }
  for (int64_t e = 0; e < c.experts; ++e)
    scores[e] = static_cast<T>(static_cast<double>(scores[e]) / sum);
}

// Index of the highest of the n values that is not taken yet, ties to the lower index; takes it.
template <class T>
int64_t router_take_best(int64_t n, const T* values, std::vector<bool>& taken) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; ++i) {
    if (taken[static_cast<std::size_t>(i)]) continue;
    if (best < 0 || values[i] > values[best]) best = i;
  }
  taken[static_cast<std::size_t>(best)] = true;
  return best;
}

// -infinity for NaN, which therefore is chosen last.
template <class T>
T router_comparable(T x) {
  return std::isnan(x) ? -std::numeric_limits<T>::infinity() : x;
}

template <class T>
T router_group_score(const T* choice, int64_t size, bool best_only) {
  T first = -std::numeric_limits<T>::infinity(), second = first;
  for (int64_t i = 0; i < size; ++i) {
    if (choice[i] > first) {
      second = first;
      first = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return best_only || size == 1 ? first : router_comparable(first + second);
}

// The k experts of one token, best first. bias [experts] may be nullptr.
template <class T>
void router_select_reference(const RouterConfig& c, const T* scores, const T* bias, int32_t* ids) {
  const int64_t size = c.experts / c.groups;
  std::vector<T> choice, group_score;
  for (int64_t e = 0; e < c.experts; ++e)
    choice.push_back(router_comparable(bias != nullptr ? scores[e] + bias[e] : scores[e]));
  std::vector<bool> taken(static_cast<std::size_t>(c.experts), c.groups > 1);
  if (c.groups > 1) {
    const bool best_only = c.score == RouterScore::kSoftmax && bias == nullptr;
    for (int64_t g = 0; g < c.groups; ++g)
      group_score.push_back(router_group_score(choice.data() + g * size, size, best_only));
    std::vector<bool> group_taken(static_cast<std::size_t>(c.groups), false);
    for (int64_t i = 0; i < c.top_groups; ++i) {
      const int64_t g = router_take_best(c.groups, group_score.data(), group_taken);
      for (int64_t e = g * size; e < (g + 1) * size; ++e)
        taken[static_cast<std::size_t>(e)] = false;
    }
  }
  for (int64_t j = 0; j < c.k; ++j)
    ids[j] = static_cast<int32_t>(router_take_best(c.experts, choice.data(), taken));
}

// logits [tokens, experts], bias [experts] or nullptr (it only takes part in the choice).
// Writes routing [tokens, 3k] (layout_view.h) and, where not nullptr, weights [tokens, k], the
// routing weights in full precision; adds to load [experts], where not nullptr, the number of
// tokens that chose each expert.
template <class T>
void router_reference(const RouterConfig& c, int64_t tokens, const T* logits, const T* bias,
                      int32_t* routing, T* weights, T* load) {
  std::vector<T> scores(static_cast<std::size_t>(c.experts));
  for (int64_t t = 0; t < tokens; ++t) {
    int32_t* ids = routing + t * kRoutingWords * c.k;
    router_scores_reference(c, logits + t * c.experts, scores.data());
    router_select_reference(c, scores.data(), bias, ids);
    double sum = kNormalizeEps;
    for (int64_t j = 0; j < c.k; ++j)
      sum += static_cast<double>(scores[static_cast<std::size_t>(ids[j])]);
    for (int64_t j = 0; j < c.k; ++j) {
      const T score = scores[static_cast<std::size_t>(ids[j])];
      const T part = c.normalize ? static_cast<T>(static_cast<double>(score) / sum) : score;
      const T weight = part * static_cast<T>(c.scale);
      ids[c.k + j] = float_to_word(static_cast<float>(weight));
      ids[2 * c.k + j] = float_to_word(static_cast<float>(score));
      if (weights != nullptr) weights[t * c.k + j] = weight;
      if (load != nullptr) load[ids[j]] += T(1);
    }
  }
}

// dlogits [tokens, experts], written whole, from the gradient dweights [tokens, k] of the routing
// weights. The choice is constant; of `routing` only the ids are read. With s the scores of the
// chosen experts and D = sum of s + 1e-20:
//   ds_i = scale · (dweight_i - sum_j dweight_j · s_j / D) / D, without normalize scale · dweight_i
//   sigmoid: dlogit = ds · s · (1 - s); softmax: dlogit_e = s_e · (ds_e - sum_j ds_j · s_j), where
//   ds is 0 for experts that were not chosen.
template <class T>
void router_backward_reference(const RouterConfig& c, int64_t tokens, const T* logits,
                               const int32_t* routing, const T* dweights, T* dlogits) {
  std::vector<T> scores(static_cast<std::size_t>(c.experts));
  std::vector<double> ds(static_cast<std::size_t>(c.experts));
  for (int64_t t = 0; t < tokens; ++t) {
    const int32_t* ids = routing + t * kRoutingWords * c.k;
    const T* dweight = dweights + t * c.k;
    router_scores_reference(c, logits + t * c.experts, scores.data());
    const auto score = [&](int64_t j) {
      return static_cast<double>(scores[static_cast<std::size_t>(ids[j])]);
    };
    double sum = kNormalizeEps, weighted = 0, dot = 0;
    for (int64_t j = 0; j < c.k; ++j) {
      sum += score(j);
      weighted += static_cast<double>(dweight[j]) * score(j);
    }
    ds.assign(ds.size(), 0);
    for (int64_t j = 0; j < c.k; ++j) {
      const double d = static_cast<double>(dweight[j]);
      const double of_score = c.normalize ? (d - weighted / sum) / sum : d;
      ds[static_cast<std::size_t>(ids[j])] = static_cast<double>(c.scale) * of_score;
      dot += static_cast<double>(c.scale) * of_score * score(j);
    }
    for (int64_t e = 0; e < c.experts; ++e) {
      const double s = static_cast<double>(scores[static_cast<std::size_t>(e)]);
      const double d = ds[static_cast<std::size_t>(e)];
      dlogits[t * c.experts + e] =
          static_cast<T>(c.score == RouterScore::kSigmoid ? d * s * (1 - s) : s * (d - dot));
    }
  }
}

}  // namespace orrery::kernels
