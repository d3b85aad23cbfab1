// Every layout and schedule that can be planned computes what one rank computes.
#include <cmath>

#include "tests/catch.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {
namespace {

// Largest difference of two sets of tensors, each relative to its tensor's largest element.
double largest_difference(const std::map<std::string, std::vector<double>>& a,
                          const std::map<std::string, std::vector<double>>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (const auto& [name, x] : a) {
    INFO(name);
    const auto it = b.find(name);
    REQUIRE(it != b.end());
    const std::vector<double>& y = it->second;
    REQUIRE(x.size() == y.size());
    double scale = 1e-12, difference = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      scale = std::max(scale, std::abs(x[i]));
      difference = std::max(difference, std::abs(x[i] - y[i]));
    }
    CAPTURE(difference, scale);
    CHECK(difference < 2e-4 * scale);
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

const Run& single_rank() {
  static const Run run = TinyJob<float>(Layout{}).run(2);
  return run;
}

void same_as_single_rank(const Layout& l) {
  INFO(l.name());
  const Run run = TinyJob<float>(l).run(2);
  const Run& one = single_rank();
  for (std::size_t s = 0; s < one.steps.size(); ++s) {
    CHECK(run.steps[s].grad_norm == Approx(one.steps[s].grad_norm).epsilon(1e-5));
    REQUIRE(run.steps[s].losses.size() == one.steps[s].losses.size());
    for (std::size_t d = 0; d < one.steps[s].losses.size(); ++d)
      CHECK(run.steps[s].losses[d] == Approx(one.steps[s].losses[d]).epsilon(1e-5));
  }
  largest_difference(one.gradients, run.gradients);
}

TEST_CASE("layouts: a model starts at the entropy of its vocabulary and learns", "[runtime]") {
  const Run& one = single_rank();
  // Logits of a fresh model are small, so the loss is near ln 96 = 4.56.
  CHECK(one.steps[0].losses.at(0) == Approx(std::log(96.0)).margin(0.6));
  CHECK(one.steps[0].losses.at(1) == Approx(std::log(96.0)).margin(0.6));
  CHECK(one.steps[0].grad_norm > 0);
}

TEST_CASE("layouts: data parallel, ZeRO-0 and ZeRO-1", "[runtime]") {
  same_as_single_rank({.data = 2});
  same_as_single_rank({.data = 4, .more = {"/plan/zero_stage=0"}});
}

TEST_CASE("layouts: expert parallel", "[runtime]") {
  same_as_single_rank({.data = 2, .expert = 2});
  same_as_single_rank({.data = 4, .expert = 2});
  same_as_single_rank({.data = 4, .expert = 4});
  same_as_single_rank({.data = 4, .expert = 4, .more = {"/plan/zero_stage=0"}});
}

TEST_CASE("layouts: pipeline parallel with 1F1B", "[runtime]") {
  same_as_single_rank({.pipeline = 2});
  same_as_single_rank({.pipeline = 4});
  same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2});
}

TEST_CASE("layouts: DualPipe", "[runtime]") {
  same_as_single_rank({.pipeline = 2, .schedule = "dualpipe"});
  same_as_single_rank({.pipeline = 4, .schedule = "dualpipe"});
  same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .schedule = "dualpipe"});
  same_as_single_rank({.pipeline = 2,
                       .data = 2,
                       .expert = 2,
                       .schedule = "dualpipe",
                       .more = {"/plan/overlap_expert_parallel=true"}});
}

TEST_CASE("layouts: GPipe and ZB-H1", "[runtime]") {
  for (const char* schedule : {"gpipe", "zb_h1"}) {
    same_as_single_rank({.pipeline = 2, .schedule = schedule});
    same_as_single_rank({.pipeline = 4, .schedule = schedule});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .schedule = schedule});
  }
}

TEST_CASE("layouts: several chunks per rank", "[runtime]") {
  for (const char* schedule : {"interleaved_1f1b", "zb_v", "dualpipe_v"}) {
    same_as_single_rank({.pipeline = 2, .schedule = schedule, .chunks = 2});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .schedule = schedule, .chunks = 2});
  }
}

TEST_CASE("layouts: overlapped all-to-alls in 1F1B, interleaved 1F1B and DualPipeV", "[runtime]") {
  const std::vector<std::string> overlap = {"/plan/overlap_expert_parallel=true"};
  same_as_single_rank({.data = 2, .expert = 2, .more = overlap});
  same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .more = overlap});
  for (const char* schedule : {"interleaved_1f1b", "dualpipe_v"})
    same_as_single_rank({.pipeline = 2,
                         .data = 2,
                         .expert = 2,
                         .schedule = schedule,
                         .more = overlap,
                         .chunks = 2});
}

TEST_CASE("layouts: whole layers recomputed", "[runtime]") {
  for (const char* how : {R"({"full":"uniform"})", R"({"full":"uniform","full_layers":3})",
                          R"({"full":"block","full_layers":1})"}) {
    const std::vector<std::string> more = {std::string("/plan/recompute=") + how};
    same_as_single_rank({.more = more});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .more = more});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .schedule = "zb_h1", .more = more});
  }
  same_as_single_rank({.pipeline = 2,
                       .data = 2,
                       .expert = 2,
                       .schedule = "dualpipe",
                       .more = {R"(/plan/recompute={"full":"uniform","full_layers":2})",
                                "/plan/overlap_expert_parallel=true", "/plan/precision=fp8"}});
}

TEST_CASE("layouts: micro-batch size and recomputation", "[runtime]") {
  same_as_single_rank({.more = {"/plan/micro_batch=4"}});
  same_as_single_rank(
      {.more = {"/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}});
}

TEST_CASE("layouts: the FP8 recipe with exact casts is the BF16 recipe", "[runtime]") {
  same_as_single_rank({.more = {"/plan/precision=fp8"}});
  same_as_single_rank(
      {.pipeline = 2,
       .data = 2,
       .expert = 2,
       .schedule = "dualpipe",
       .more = {"/plan/precision=fp8", "/plan/overlap_expert_parallel=true",
                "/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}});
}

}  // namespace
}  // namespace orrery
