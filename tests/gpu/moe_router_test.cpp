#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/moe/router.h"
#include "kernels/moe/router_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;
using Values = std::vector<double>;
using Words = std::vector<int32_t>;

namespace {

struct Case {
  int64_t tokens, experts, k, groups, top_groups;
};
// DeepSeek-V3, Mixtral, Qwen3, one token, experts that do not fill a warp, the largest, no token.
const Case kCases[] = {{1000, 256, 8, 8, 4}, {333, 8, 2, 1, 1},        {257, 128, 8, 1, 1},
                       {1, 256, 8, 8, 4},    {77, 30, 5, 5, 2},        {19, 7, 7, 7, 7},
                       {5, 1, 1, 1, 1},      {40, 1024, 32, 1024, 64}, {64, 96, 6, 3, 1},
                       {0, 64, 4, 1, 1}};

std::size_t z(int64_t n) { return static_cast<std::size_t>(n); }

std::vector<float> to_float(const Values& v) { return {v.begin(), v.end()}; }

// Values that a float holds. In quarters, most of them occur several times in a row.
Values random_logits(Random& random, const Case& s, bool quarters) {
  std::normal_distribution<double> d(0, 1.5);
  Values v(z(s.tokens * s.experts));
  for (double& x : v)
    x = quarters ? std::round(4 * d(random.engine)) / 4
                 : double{static_cast<float>(d(random.engine))};
  return v;
}

// Whether FP32 may rightly choose otherwise than double: two of the first k + 1 choices, or the
// last group that is taken and the first that is not, differ by a rounding error. Equal choice
// scores are no reason, since without a bias they come from equal logits.
bool ambiguous(const RouterConfig& c, const double* logits, const double* bias) {
  Values choice(z(c.experts));
  router_scores_reference(c, logits, choice.data());
  const Values scores = choice;
  if (bias != nullptr)
    for (int64_t e = 0; e < c.experts; ++e) choice[z(e)] += bias[e];
  const auto close = [](double a, double b) {
    return std::abs(a - b) < 1e-6 * std::max(std::abs(a), 0.1);
  };
  const int64_t size = c.experts / c.groups;
  if (c.groups > c.top_groups) {
    Values group;
    const bool best_only = c.score == RouterScore::kSoftmax && bias == nullptr;
    for (int64_t g = 0; g < c.groups; ++g)
      group.push_back(router_group_score(choice.data() + g * size, size, best_only));
    std::sort(group.begin(), group.end(), std::greater<>());
    if (close(group[z(c.top_groups) - 1], group[z(c.top_groups)])) return true;
  }
  RouterConfig more = c;
  more.k = std::min(c.k + 1, c.top_groups * size);
  Words ids(z(more.k));
  router_select_reference(more, scores.data(), bias, ids.data());
  for (std::size_t j = 1; j < ids.size(); ++j) {
    const double a = choice[z(ids[j - 1])], b = choice[z(ids[j])];
    if (a != b && close(a, b)) return true;
  }
  return false;
}

void check_token(const RouterConfig& c, const int32_t* got, const int32_t* want, bool undecided) {
  for (int64_t j = 0; j < c.k; ++j) {
    REQUIRE(got[j] >= 0);
    REQUIRE(got[j] < c.experts);
    REQUIRE(std::count(got, got + c.k, got[j]) == 1);
    if (undecided) continue;
    REQUIRE(got[j] == want[j]);
    for (const int64_t part : {c.k, 2 * c.k}) {
      const double expected = static_cast<double>(word_to_float(want[part + j]));
      CHECK(static_cast<double>(word_to_float(got[part + j])) == Approx(expected).epsilon(2e-5));
    }
  }
}

void test_router(const Case& s, RouterScore score, bool normalize, bool biased, bool quarters) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE(s.tokens, s.experts, s.k, s.groups, static_cast<int>(score), normalize, biased, quarters);
  const RouterConfig c{s.experts, s.k, s.groups, s.top_groups, score, normalize, 2.5f};
  const Values logits = random_logits(random, s, quarters);
  Values bias = random_logits(random, {1, s.experts, 0, 0, 0}, false);
  const double* bias_or_null = biased ? bias.data() : nullptr;
  Words want(z(s.tokens * kRoutingWords * s.k));
  router_reference<double>(c, s.tokens, logits.data(), bias_or_null, want.data(), nullptr, nullptr);

  const DeviceBuffer<float> logits_d(to_float(logits)), bias_d(to_float(bias));
  DeviceBuffer<int32_t> routing_d(want.size());
  DeviceBuffer<float> load_d(std::vector<float>(z(s.experts), 3));
  const RouterParams p{.config = c,
                       .tokens = s.tokens,
                       .logits = logits_d.get(),
                       .bias = biased ? bias_d.get() : nullptr,
                       .routing = routing_d.get(),
                       .load = load_d.get()};
  launched(router(p, nullptr));
  const Words got = routing_d.download();
  int64_t skipped = 0;
  std::vector<float> load(z(s.experts), 3);
  for (int64_t t = 0; t < s.tokens; ++t) {
    const bool undecided = ambiguous(c, logits.data() + t * s.experts, bias_or_null);
    const int32_t* of_token = got.data() + t * kRoutingWords * s.k;
    check_token(c, of_token, want.data() + t * kRoutingWords * s.k, undecided);
    skipped += undecided;
    for (int64_t j = 0; j < s.k; ++j) load[z(of_token[j])] += 1;
  }
  REQUIRE(skipped <= 4 + s.tokens / 10);
  REQUIRE(load_d.download() == load);
  routing_d.check_canaries();
  load_d.check_canaries();
  launched(router(p, nullptr));
  REQUIRE(same_bits(routing_d.download(), got));
}

void test_backward(const Case& s, RouterScore score, bool normalize) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE(s.tokens, s.experts, s.k, static_cast<int>(score), normalize);
  const RouterConfig c{s.experts, s.k, s.groups, s.top_groups, score, normalize, 2.5f};
  const Values logits = random_logits(random, s, false);
  const Values dweights = random.normal_bf16(z(s.tokens * s.k));
  Words routing(z(s.tokens * kRoutingWords * s.k));
  Values want(logits.size());
  router_reference<double>(c, s.tokens, logits.data(), nullptr, routing.data(), nullptr, nullptr);
  router_backward_reference(c, s.tokens, logits.data(), routing.data(), dweights.data(),
                            want.data());
  const DeviceBuffer<float> logits_d(to_float(logits)), dweights_d(to_float(dweights));
  const DeviceBuffer<int32_t> routing_d(routing);
  DeviceBuffer<bf16> dlogits_d(want.size());
  const RouterBackwardParams p{.config = c,
                               .tokens = s.tokens,
                               .logits = logits_d.get(),
                               .routing = routing_d.get(),
                               .dweights = dweights_d.get(),
                               .dlogits = dlogits_d.get()};
  launched(router_backward(p, nullptr));
  const std::vector<bf16> got = dlogits_d.download();
  // Absolute: differences of FP32 terms of order 10 that cancel.
  require_close(to_double(got), want, 1.01 * kBf16Eps, 2e-5);
  dlogits_d.check_canaries();
  launched(router_backward(p, nullptr));
  REQUIRE(same_bits(dlogits_d.download(), got));
}

}  // namespace

TEST_CASE("GPU: the router chooses and weighs as the reference does", "[gpu][moe]") {
  for (const Case& s : kCases)
    for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax})
      for (const bool biased : {false, true})
        test_router(s, score, biased != (score == RouterScore::kSoftmax), biased, false);
}

TEST_CASE("GPU: the router breaks ties by index", "[gpu][moe]") {
  // Groups whose best two differ may have equal sums in double alone, hence a single group.
  for (Case s : kCases) {
    s.groups = s.top_groups = 1;
    for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax})
      test_router(s, score, true, false, true);
  }
}

TEST_CASE("GPU: equal logits choose the lowest indices, NaN and infinities valid ones",
          "[gpu][moe]") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const RouterConfig c{.experts = 64, .k = 4, .groups = 8, .top_groups = 3};
  std::vector<float> logits;
  for (const float x : {0.5f, nan, -infinity, infinity}) logits.insert(logits.end(), 64, x);
  const DeviceBuffer<float> logits_d(logits);
  DeviceBuffer<int32_t> routing_d(4 * 12);
  launched(router({.config = c, .tokens = 4, .logits = logits_d.get(), .routing = routing_d.get()},
                  nullptr));
  const Words got = routing_d.download();
  for (std::size_t t = 0; t < 4; ++t)
    for (std::size_t j = 0; j < 4; ++j) REQUIRE(got[t * 12 + j] == static_cast<int32_t>(j));
}

TEST_CASE("GPU: the router's gradient is that of the reference", "[gpu][moe]") {
  for (const Case& s : kCases)
    for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax})
      for (const bool normalize : {false, true}) test_backward(s, score, normalize);
}

TEST_CASE("GPU: the router names a bad argument", "[gpu][moe]") {
  RouterParams p{.config = {.experts = 8, .k = 9}, .tokens = 1};
  REQUIRE(router(p, nullptr).error ==
          "router: k is above the number of experts in top_groups groups");
  p.config.k = 2;
  REQUIRE(router(p, nullptr).error == "router: logits or routing is null");
  p.tokens = -1;
  REQUIRE(router(p, nullptr).error == "router: tokens is not within 0 to 2^26");
}
