// How tokens choose their experts.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/base/status.h"
#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

enum class RouterScore : uint8_t {
  kSigmoid,  // of each logit (DeepSeek-V3)
  kSoftmax,  // over all experts (Mixtral, Qwen, DeepSeek-V2)
};

// The k experts with the highest choice score = score + bias, among the experts of the `top_groups`
// best of `groups` equal groups of consecutive experts. A group's score is the sum of its two best
// choice scores, and with softmax scores and no bias its best one (DeepSeek-V2). Ties go to the
// lower index; NaN is chosen last.
// Routing weight = scale · score, with `normalize` scale · score / (sum of the k scores + 1e-20).
struct RouterConfig {
  int64_t experts = 0, k = 0;
  int64_t groups = 1, top_groups = 1;
  RouterScore score = RouterScore::kSigmoid;
  bool normalize = true;
  float scale = 1;
};

constexpr double kNormalizeEps = 1e-20;

inline Status check_router(const char* kernel, const RouterConfig& c) {
  const bool divides = c.groups >= 1 && c.experts % c.groups == 0;
  return check(kernel,
               {{c.experts >= 1 && c.experts <= kMaxExperts, "experts is not within 1 to 1024"},
                {c.k >= 1 && c.k <= kMaxTopK, "k is not within 1 to 32"},
                {divides, "groups does not divide experts"},
                {c.top_groups >= 1 && c.top_groups <= c.groups, "top_groups is above groups or 0"},
                {divides && c.k <= c.top_groups * (c.experts / c.groups),
                 "k is above the number of experts in top_groups groups"},
                {std::isfinite(c.scale), "scale is not finite"}});
}

}  // namespace orrery::kernels
