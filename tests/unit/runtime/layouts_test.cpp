// Every layout and schedule that can be planned computes what one rank computes.
#include <cmath>

#include "tests/catch.h"
#include "tests/unit/runtime/hf_job.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {
namespace {

Layout with_model(Layout l, std::vector<std::string> model) {
  l.more.insert(l.more.begin(), model.begin(), model.end());
  return l;
}

// The models of other tests, narrower: most of the time of a layout goes into products, and their
// widths matter to none.
StudySpec narrow_study(const Layout& l) {
  return tiny_study(with_model(l, {"/model/hidden_size=32", "/model/intermediate_size=64",
                                   "/model/moe_intermediate_size=16", "/model/vocab_size=48"}));
}

StudySpec narrow_llama(const Layout& l) {
  return tiny_llama(with_model(l, {"/model/hidden_size=32", "/model/intermediate_size=64",
                                   "/model/head_dim=8", "/model/vocab_size=48"}));
}

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
  static const Run run = TinyJob<float>(narrow_study({})).run(2);
  return run;
}

void check_same(const Run& run, const Run& one) {
  for (std::size_t s = 0; s < one.steps.size(); ++s) {
    CHECK(run.steps[s].grad_norm == Approx(one.steps[s].grad_norm).epsilon(1e-5));
    REQUIRE(run.steps[s].losses.size() == one.steps[s].losses.size());
    for (std::size_t d = 0; d < one.steps[s].losses.size(); ++d)
      CHECK(run.steps[s].losses[d] == Approx(one.steps[s].losses[d]).epsilon(1e-5));
  }
  largest_difference(one.gradients, run.gradients);
}

void same_as_single_rank(const Layout& l) {
  INFO(l.name());
  check_same(TinyJob<float>(narrow_study(l)).run(2), single_rank());
}

// Dense layers with grouped-query attention.
Run dense_run(Layout l) {
  l.more.insert(l.more.end(), {"/plan/sequence_length=12", "/model/initializer_range=0.1"});
  return TinyJob<float>(narrow_llama(l)).run(2);
}

void dense_same_as_single_rank(const Layout& l) {
  INFO("dense " << l.name());
  static const Run one = dense_run({});
  check_same(dense_run(l), one);
}

TEST_CASE("layouts: a model starts at the entropy of its vocabulary and learns", "[runtime]") {
  const Run& one = single_rank();
  // Logits of a fresh model are small, so the loss is near ln 48 = 3.87.
  CHECK(one.steps[0].losses.at(0) == Approx(std::log(48.0)).margin(0.6));
  CHECK(one.steps[0].losses.at(1) == Approx(std::log(48.0)).margin(0.6));
  CHECK(one.steps[0].grad_norm > 0);
}

DataParallelSpec zero(int stage) {
  DataParallelSpec d;
  d.zero_stage = stage;
  d.reduce_every_micro_batch = d.overlap_grad_reduce = stage >= 2;
  d.overlap_param_gather = stage == 3;
  return d;
}

DataParallelSpec with(DataParallelSpec d, void (*change)(DataParallelSpec&)) {
  change(d);
  return d;
}

TEST_CASE("layouts: data parallel, ZeRO-0 and ZeRO-1", "[runtime]") {
  same_as_single_rank({.data = 2});
  same_as_single_rank({.data = 4, .dp = zero(0)});
}

TEST_CASE("layouts: ZeRO-2 and ZeRO-3", "[runtime]") {
  for (int stage : {2, 3}) {
    same_as_single_rank({.data = 4, .dp = zero(stage)});
    same_as_single_rank({.data = 4, .expert = 2, .dp = zero(stage)});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .dp = zero(stage)});
    same_as_single_rank({.data = 1, .dp = zero(stage)});
  }
}

TEST_CASE("layouts: ZeRO-3 that keeps weights, or reduces once a step", "[runtime][long]") {
  const auto keep = [](DataParallelSpec& d) { d.reshard_after_forward = false; };
  const auto once = [](DataParallelSpec& d) { d.reduce_every_micro_batch = false; };
  same_as_single_rank({.data = 2, .expert = 2, .dp = with(zero(3), keep)});
  same_as_single_rank({.data = 2, .dp = with(zero(3), once)});
  same_as_single_rank({.pipeline = 2, .data = 2, .dp = with(zero(3), once)});
  same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .dp = with(zero(2), once)});
}

TEST_CASE("layouts: ZeRO-3 gathers in BF16 or FP8", "[runtime]") {
  const auto fp8 = [](DataParallelSpec& d) { d.gather_dtype = GatherDtype::kFp8; };
  const std::vector<std::string> precision = {"/plan/precision=fp8"};
  same_as_single_rank({.data = 2, .expert = 2, .more = precision, .dp = zero(3)});
  same_as_single_rank({.data = 2, .expert = 2, .more = precision, .dp = with(zero(3), fp8)});
}

TEST_CASE("layouts: what PyTorch copies and keeps does not change the step", "[runtime]") {
  const auto pytorch = [](Layout l, bool all) {
    l.more = {"/plan/sequence_length=12", "/model/initializer_range=0.1",
              l.context > 1 ? R"(/plan/recompute={"full":"block","full_layers":4})"
                            : R"(/plan/recompute={"every_second_product":true})"};
    StudySpec s = narrow_llama(l);
    s.stack.separate_projections = true;
    if (all) {
      s.plan.dp = zero(3);
      s.plan.dp.one_unit_for_ends = true;
      s.stack.loss_kernel = LossKernel::kEager;
      s.stack.copies_gathered_weights = s.stack.keeps_unread_products = true;
      s.stack.repeats_kv = s.stack.fp32_ring = true;
    }
    return TinyJob<float>(std::move(s)).run(2);
  };
  const Run one = pytorch({}, false);
  check_same(pytorch({}, true), one);
  check_same(pytorch({.data = 4}, true), one);
  check_same(pytorch({.data = 2, .context = 2}, true), one);
  // Three merges of the outputs so far with those of a step.
  check_same(pytorch({.context = 3}, true), one);
}

TEST_CASE("layouts: gradients of experts in one launch are those of one each", "[runtime][long]") {
  const auto grouped = [](Layout l, bool at_once) {
    StudySpec s = narrow_study(l);
    s.stack.grouped_wgrad = at_once;
    return TinyJob<float>(std::move(s)).run(2);
  };
  for (const char* precision : {"bf16", "fp8"}) {
    const std::vector<std::string> more = {fmt::format("/plan/precision={}", precision)};
    const Run one = grouped({.more = more}, false);
    check_same(grouped({.more = more}, true), one);
    check_same(grouped({.data = 2, .expert = 2, .more = more}, true), one);
  }
}

// Two steps: what is not zeroed has the first step's gradient when the second writes it.
TEST_CASE("layouts: one micro-batch a step may write gradients instead of adding", "[runtime]") {
  const auto run = [](Layout l, bool writes) {
    l.more.push_back("/plan/micro_batch=" + std::to_string(8 / l.data));
    StudySpec s = narrow_study(l);
    s.stack.grouped_wgrad = true;
    s.stack.writes_gradients = s.stack.casts_in_optimizer = writes;
    return TinyJob<float>(std::move(s), CpuNumerics::kFakeQuant).run(2);
  };
  for (const char* precision : {"bf16", "fp8"}) {
    const std::vector<std::string> more = {fmt::format("/plan/precision={}", precision)};
    check_same(run({.more = more}, true), run({.more = more}, false));
    const Layout two{.data = 2, .expert = 2, .more = more};
    check_same(run(two, true), run(two, false));
  }
}

TEST_CASE("layouts: HSDP", "[runtime][long]") {
  const auto halves = [](DataParallelSpec& d) { d.shard_group = 2; };
  for (int stage : {1, 2, 3}) {
    same_as_single_rank({.data = 4, .dp = with(zero(stage), halves)});
    same_as_single_rank({.data = 4, .expert = 2, .dp = with(zero(stage), halves)});
  }
  same_as_single_rank({.pipeline = 2, .data = 4, .dp = with(zero(2), [](DataParallelSpec& d) {
                                                   d.shard_group = 2;
                                                   d.reduce_every_micro_batch = false;
                                                 })});
}

TEST_CASE("layouts: buckets reduced and gathered beside the passes", "[runtime]") {
  const auto reduce = [](DataParallelSpec& d) {
    d.overlap_grad_reduce = true;
    d.bucket_parameters = 6000;
  };
  const auto both = [](DataParallelSpec& d) {
    d.overlap_grad_reduce = d.overlap_param_gather = true;
    d.bucket_parameters = 6000;
  };
  same_as_single_rank({.data = 4, .dp = with(zero(0), reduce)});
  same_as_single_rank({.data = 4, .expert = 2, .dp = with(zero(1), reduce)});
  same_as_single_rank({.data = 4, .expert = 2, .dp = with(zero(1), both)});
  same_as_single_rank({.pipeline = 2, .data = 2, .dp = with(zero(1), both)});
  same_as_single_rank({.pipeline = 2,
                       .data = 2,
                       .expert = 2,
                       .schedule = "dualpipe",
                       .more = {"/plan/overlap_expert_parallel=true"},
                       .dp = with(zero(1), both)});
  same_as_single_rank({.data = 4, .dp = with(zero(1), [](DataParallelSpec& d) {
                                    d.overlap_param_gather = true;
                                    d.shard_group = 2;
                                  })});
}

TEST_CASE("layouts: sharded states with tensor and context parallelism", "[runtime][long]") {
  const auto reduce = [](DataParallelSpec& d) {
    d.overlap_grad_reduce = d.overlap_param_gather = true;
    d.bucket_parameters = 6000;
  };
  const std::vector<std::string> rows = {"/plan/sequence_parallel=true"};
  same_as_single_rank({.data = 2, .more = rows, .tensor = 2, .dp = zero(3)});
  same_as_single_rank({.data = 2, .more = rows, .tensor = 2, .dp = with(zero(1), reduce)});
  same_as_single_rank({.data = 2, .context = 2, .dp = zero(2)});
}

TEST_CASE("layouts: gradients reduced in BF16 are near", "[runtime]") {
  const auto bf16 = [](DataParallelSpec& d) { d.gradient_dtype = ReduceDtype::kBf16; };
  const auto fake = CpuNumerics::kFakeQuant;
  for (int stage : {1, 3}) {
    const Run exact = TinyJob<float>(narrow_study({.data = 4, .dp = zero(stage)}), fake).run(1);
    const Run near =
        TinyJob<float>(narrow_study({.data = 4, .dp = with(zero(stage), bf16)}), fake).run(1);
    // Of each of four addends and of their sum 2^-9.
    CHECK(near.steps[0].grad_norm == Approx(exact.steps[0].grad_norm).epsilon(1e-2));
    CHECK(near.steps[0].grad_norm != exact.steps[0].grad_norm);
  }
}

TEST_CASE("layouts: SGD", "[runtime]") {
  const auto sgd = [](DataParallelSpec& d) { d.optimizer = OptimizerKind::kSgd; };
  const Run one = TinyJob<float>(narrow_study({.dp = with(zero(1), sgd)})).run(2);
  const Run four = TinyJob<float>(narrow_study({.data = 4, .dp = with(zero(3), sgd)})).run(2);
  CHECK(four.steps[1].grad_norm == Approx(one.steps[1].grad_norm).epsilon(1e-5));
  largest_difference(one.weights, four.weights);
  // w -= 0.01 (clip g + 0.1 w), not AdamW's step of nearly the learning rate.
  const Run adamw = TinyJob<float>(narrow_study({.dp = zero(1)})).run(2);
  CHECK(adamw.steps[1].losses[0] != one.steps[1].losses[0]);
}

TEST_CASE("layouts: Muon", "[runtime]") {
  const auto muon = [](Layout l) {
    l.dp = with(l.dp.value_or(zero(1)),
                [](DataParallelSpec& d) { d.optimizer = OptimizerKind::kMuon; });
    return TinyJob<float>(narrow_study(l)).run(2);
  };
  const Run one = muon({});
  const auto check = [&](const Layout& l) {
    INFO(l.name());
    const Run run = muon(l);
    check_same(run, one);
    largest_difference(one.weights, run.weights);
  };
  check({.data = 2});
  // Fewer matrices of some sizes than ranks: the last ranks own none.
  check({.data = 8});
  check({.data = 4, .dp = zero(0)});
  check({.data = 4, .expert = 2});
  check({.pipeline = 2, .data = 2, .expert = 2});
  check({.pipeline = 2, .data = 2, .expert = 2, .schedule = "dualpipe"});
  check({.data = 2, .context = 2});
  // Not AdamW's step.
  const Run adamw = TinyJob<float>(narrow_study({.dp = zero(1)})).run(2);
  CHECK(adamw.steps[1].losses[0] != one.steps[1].losses[0]);
}

TEST_CASE("layouts: activations in host memory change no bit", "[runtime]") {
  const auto run = [](Layout l, bool offload) {
    if (offload) l.more.push_back(R"(/plan/offload_activations={"min_tensor_elements":1})");
    return TinyJob<float>(narrow_study(l)).run(2);
  };
  const std::string pairs = "/plan/overlap_expert_parallel=true";
  for (const Layout& l :
       {Layout{}, Layout{.pipeline = 2, .schedule = "gpipe"},
        Layout{.pipeline = 2, .data = 2, .expert = 2},
        Layout{.pipeline = 2, .schedule = "interleaved_1f1b", .chunks = 2},
        Layout{.pipeline = 2, .schedule = "zb_v", .chunks = 2},
        Layout{.pipeline = 2, .data = 2, .expert = 2, .schedule = "dualpipe", .more = {pairs}},
        Layout{.pipeline = 2, .schedule = "dualpipe_v", .more = {pairs}, .chunks = 2},
        Layout{.more = {R"(/plan/recompute={"full":"uniform"})"}},
        Layout{.more = {"/plan/sequence_parallel=true"}, .tensor = 2, .context = 2},
        Layout{.data = 2, .dp = zero(3)}}) {
    INFO(l.name());
    const Run here = run(l, false), there = run(l, true);
    for (std::size_t s = 0; s < here.steps.size(); ++s) {
      CHECK(there.steps[s].losses == here.steps[s].losses);
      CHECK(there.steps[s].grad_norm == here.steps[s].grad_norm);
    }
    CHECK((there.weights == here.weights));
  }
}

TEST_CASE("layouts: optimizer states in host memory change no bit", "[runtime]") {
  const auto run = [](Layout l, bool offload) {
    l.more.push_back(fmt::format("/plan/offload_optimizer={}", offload));
    l.more.push_back("/plan/offload_chunk_parameters=1000");  // many chunks, of 1024
    return TinyJob<float>(narrow_study(l)).run(2);
  };
  for (const Layout& l : {Layout{.data = 2}, Layout{.data = 4, .expert = 2},
                          Layout{.pipeline = 2, .schedule = "dualpipe"},
                          Layout{.data = 8, .more = {"/plan/optimizer=muon"}}}) {
    INFO(l.name());
    const Run here = run(l, false), there = run(l, true);
    for (std::size_t s = 0; s < here.steps.size(); ++s) {
      CHECK(there.steps[s].losses == here.steps[s].losses);
      CHECK(there.steps[s].grad_norm == here.steps[s].grad_norm);
    }
    CHECK((there.weights == here.weights));
  }
}

TEST_CASE("layouts: expert parallel", "[runtime]") {
  same_as_single_rank({.data = 2, .expert = 2});
  same_as_single_rank({.data = 4, .expert = 2});
  same_as_single_rank({.data = 4, .expert = 4});
  same_as_single_rank({.data = 4, .expert = 4, .dp = zero(0)});
}

TEST_CASE("layouts: pipeline parallel with 1F1B", "[runtime]") {
  same_as_single_rank({.pipeline = 2});
  same_as_single_rank({.pipeline = 4});
  same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2});
}

TEST_CASE("layouts: embedding and head on stages without layers", "[runtime]") {
  const std::string ends = "/plan/layers_per_stage=[0,2,2,0]";
  same_as_single_rank({.pipeline = 4, .more = {ends}});
  same_as_single_rank({.pipeline = 2, .schedule = "interleaved_1f1b", .more = {ends}, .chunks = 2});
  same_as_single_rank({.pipeline = 4, .more = {ends}, .dp = zero(3)});
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

TEST_CASE("layouts: GPipe and ZB-H1", "[runtime][long]") {
  for (const char* schedule : {"gpipe", "zb_h1"}) {
    same_as_single_rank({.pipeline = 2, .schedule = schedule});
    same_as_single_rank({.pipeline = 4, .schedule = schedule});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .schedule = schedule});
  }
}

TEST_CASE("layouts: several chunks per rank", "[runtime][long]") {
  for (const char* schedule : {"interleaved_1f1b", "zb_v", "dualpipe_v"}) {
    same_as_single_rank({.pipeline = 2, .schedule = schedule, .chunks = 2});
    same_as_single_rank({.pipeline = 2, .data = 2, .expert = 2, .schedule = schedule, .chunks = 2});
  }
}

TEST_CASE("layouts: overlapped all-to-alls in 1F1B, interleaved 1F1B and DualPipeV",
          "[runtime][long]") {
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

TEST_CASE("layouts: whole layers recomputed", "[runtime][long]") {
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

TEST_CASE("layouts: every second product of dense layers recomputed", "[runtime][long]") {
  const std::string again = R"(/plan/recompute={"every_second_product":true})";
  const std::string sequence = "/plan/sequence_parallel=true";
  const std::string overlap = "/plan/overlap_tensor_parallel=true";
  dense_same_as_single_rank({.more = {again}});
  dense_same_as_single_rank({.pipeline = 2, .data = 2, .more = {again}, .dp = zero(3)});
  dense_same_as_single_rank({.more = {again}, .tensor = 2});
  dense_same_as_single_rank({.more = {again, sequence}, .tensor = 2});
  dense_same_as_single_rank({.more = {again, sequence, overlap}, .tensor = 2});
}

// The models of the tests have two heads, so a tensor-parallel group has two ranks.
const std::vector<std::string> kSequenceParallel = {"/plan/sequence_parallel=true"};

std::vector<std::string> with_sp(std::vector<std::string> more) {
  more.insert(more.end(), kSequenceParallel.begin(), kSequenceParallel.end());
  return more;
}

TEST_CASE("layouts: tensor and sequence parallel with experts", "[runtime]") {
  same_as_single_rank({.more = kSequenceParallel, .tensor = 2});
  same_as_single_rank({.pipeline = 2, .more = kSequenceParallel, .tensor = 2});
  same_as_single_rank({.data = 2, .more = kSequenceParallel, .tensor = 2});
  same_as_single_rank({.expert = 2, .more = kSequenceParallel, .tensor = 2});
  same_as_single_rank({.data = 2, .expert = 4, .more = kSequenceParallel, .tensor = 2});
  same_as_single_rank(
      {.more = with_sp({"/plan/precision=fp8",
                        "/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}),
       .tensor = 2});
  same_as_single_rank({.pipeline = 2,
                       .schedule = "dualpipe",
                       .more = with_sp({"/plan/overlap_expert_parallel=true"}),
                       .tensor = 2});
  same_as_single_rank({.data = 2, .more = with_sp({"/plan/zero_stage=0"}), .tensor = 2});
}

TEST_CASE("layouts: tensor parallel, dense layers with grouped-query attention",
          "[runtime][long]") {
  dense_same_as_single_rank({.tensor = 2});
  dense_same_as_single_rank({.more = kSequenceParallel, .tensor = 2});
  dense_same_as_single_rank({.pipeline = 2, .data = 2, .tensor = 2});
  dense_same_as_single_rank({.pipeline = 2, .data = 2, .more = kSequenceParallel, .tensor = 2});
  dense_same_as_single_rank({.data = 2, .more = with_sp({"/plan/zero_stage=0"}), .tensor = 2});
}

TEST_CASE("layouts: rows that travel while products are computed", "[runtime]") {
  const std::vector<std::string> pipelined = with_sp({"/plan/overlap_tensor_parallel=true"});
  dense_same_as_single_rank({.more = pipelined, .tensor = 2});
  dense_same_as_single_rank({.data = 2, .more = pipelined, .tensor = 2});
  same_as_single_rank({.more = pipelined, .tensor = 2});
  same_as_single_rank(
      {.expert = 2,
       .more = with_sp({"/plan/overlap_tensor_parallel=true", "/plan/precision=fp8"}),
       .tensor = 2});
  // Four key-value heads, so that a block passes through several ranks.
  const std::string heads = "/model/num_key_value_heads=4";
  std::vector<std::string> four = pipelined;
  four.push_back(heads);
  check_same(dense_run({.more = four, .tensor = 4}), dense_run({.more = {heads}}));
}

TEST_CASE("layouts: context parallel, dense layers with grouped-query attention",
          "[runtime][long]") {
  const std::string all_to_all = "/plan/context_parallel_kind=all_to_all";
  dense_same_as_single_rank({.context = 2});
  dense_same_as_single_rank({.more = {all_to_all}, .context = 2});
  dense_same_as_single_rank({.pipeline = 2, .more = kSequenceParallel, .tensor = 2, .context = 3});
}

TEST_CASE("layouts: context parallel, ring and all-to-all", "[runtime]") {
  const std::string all_to_all = "/plan/context_parallel_kind=all_to_all";
  same_as_single_rank({.context = 2});
  same_as_single_rank({.context = 3});
  same_as_single_rank({.more = {all_to_all}, .context = 2});
  same_as_single_rank({.pipeline = 2, .expert = 2, .more = {"/plan/micro_batch=2"}, .context = 2});
  same_as_single_rank({.data = 2, .more = {all_to_all, "/plan/micro_batch=2"}, .context = 2});
  same_as_single_rank({.more = {"/plan/precision=fp8",
                                "/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"},
                       .context = 2});
  same_as_single_rank({.more = {all_to_all, "/plan/recompute={\"mla_up\":true}"}, .context = 2});
  same_as_single_rank({.more = kSequenceParallel, .tensor = 2, .context = 2});
}

TEST_CASE("layouts: experts split by width", "[runtime]") {
  const auto etp2 = [](std::vector<std::string> more) {
    more.push_back("/plan/expert_tensor_parallel=2");
    return more;
  };
  same_as_single_rank({.data = 2, .more = etp2({})});
  same_as_single_rank({.data = 4, .expert = 2, .more = etp2({})});
  same_as_single_rank({.more = etp2(kSequenceParallel), .tensor = 2});
  same_as_single_rank({.data = 2, .expert = 2, .more = etp2(kSequenceParallel), .tensor = 2});
  same_as_single_rank({.data = 4, .expert = 2, .more = etp2({"/plan/precision=fp8"})});
}

TEST_CASE("layouts: the attention core recomputed", "[runtime][long]") {
  same_as_single_rank({.more = {R"(/plan/recompute={"attention":true})"}});
  same_as_single_rank({.more = {R"(/plan/recompute={"attention":true,"norms":true,"mla_up":true})",
                                "/plan/precision=fp8"}});
}

TEST_CASE("layouts: micro-batch size and recomputation", "[runtime][long]") {
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
