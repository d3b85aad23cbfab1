// Activations in host memory: which tensors leave, when they are copied, and what that costs.
#include "sim/graph/activation_copies.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/exec/verify_backend.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// Llama with 4 layers on one GPU: a micro-batch of 256 tokens, [256, 256] in BF16 each.
constexpr int64_t kStream = 2 * 256 * 256, kLogSumExp = 4 * 256 * 8;
constexpr int64_t kGateUp = 2 * 256 * 1408, kActivation = 2 * 256 * 704;
constexpr int64_t kCore = 2 * kStream + kLogSumExp;  // queries, keys and values together
// Both norms' inputs and outputs, the core's operands and output, and the FFN.
constexpr int64_t kLayer = 5 * kStream + kCore + kGateUp + kActivation;
const std::string kAll = R"({"min_tensor_elements":1})";

StudySpec offloading(const std::string& offload, std::vector<std::string> more = {}) {
  if (!offload.empty()) more.push_back("/plan/offload_activations=" + offload);
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/tiny_llama", more, root);
}

Prediction offloaded_run(const StudySpec& s) {
  PredictOptions options;
  options.record = true;
  return predict(s, options);
}

// Bytes that the forward of a micro-batch copies to the host.
int64_t offloaded(const StudySpec& s) {
  int64_t sum = 0;
  const StageGraph g = build_stage({s.model, s.plan, s.stack, s.cluster.node.gpus}, 0);
  for (const Op& op : g.ops)
    if (op.kind == OpKind::kStoreActivations) sum += op.work.host.count();
  return sum;
}

// Of the first micro-batch: ops that `take` picks, in the order of their start.
template <class F>
std::vector<OpRecord> records(const Prediction& p, F take) {
  std::vector<OpRecord> found;
  for (const OpRecord& r : p.trace.records) {
    const Call& c = p.plan.classes[0].calls[r.call];
    if (std::max(c.forward_slot, c.backward_slot) == 0 && take(p.plan.graph_op(p.plan.ops[r.op])))
      found.push_back(r);
  }
  std::sort(found.begin(), found.end(),
            [](const OpRecord& a, const OpRecord& b) { return a.start < b.start; });
  return found;
}

std::vector<OpRecord> copies(const Prediction& p, OpKind kind, int unit) {
  return records(p, [&](const Op& op) { return op.kind == kind && op.unit == unit; });
}

Picos first_start(const Prediction& p, Phase phase, int unit) {
  return records(p,
                 [&](const Op& op) {
                   return op.phase == phase && op.unit == unit && op.stream == StreamKind::kCompute;
                 })
      .front()
      .start;
}

Picos last_end(const std::vector<OpRecord>& r) {
  Picos end;
  for (const OpRecord& x : r) end = std::max(end, x.end);
  return end;
}

int64_t most_activations(const StepTrace& t, std::size_t rank_class) {
  Bytes most;
  for (const MemorySample& s : t.memory_timeline[rank_class])
    most = std::max(most, s.by_kind[static_cast<std::size_t>(BufferKind::kActivations)]);
  return most.count();
}

}  // namespace

TEST_CASE("What the backward reads of all layers but the last goes to host memory", "[graph]") {
  const Prediction here = offloaded_run(offloading("")), there = offloaded_run(offloading(kAll));
  CHECK(offloaded(offloading(kAll)) == 3 * kLayer);
  CHECK(there.memory[0].host == Bytes(3 * kLayer));
  CHECK(here.memory[0].host == Bytes(0));
  // At the end of the forward, where the peak is, nothing of the first layer is left, and of the
  // others what has not left yet.
  const Bytes saved = here.trace.memory[0].peak - there.trace.memory[0].peak;
  CHECK(saved >= Bytes(kLayer));
  CHECK(saved <= Bytes(3 * kLayer));
  CHECK(there.trace.step >= here.trace.step);
  CHECK(verify(there.plan).empty());
  // All layers with gpipe, whose backwards come later.
  CHECK(offloaded(offloading(kAll, {"/plan/schedule=gpipe"})) == 4 * kLayer);
  CHECK(offloaded(offloading(R"({"min_tensor_elements":1,"layers":2})")) == 2 * kLayer);
  // No tensor of this model has 2^20 elements; gate and up together have the most.
  CHECK(offloaded(offloading("{}")) == 0);
  CHECK(offloaded(offloading(R"({"min_tensor_elements":180225})")) == 3 * kGateUp);
}

TEST_CASE("Modules that are named leave, others stay", "[graph]") {
  const auto of = [](const char* module) {
    return offloaded(
        offloading(fmt::format(R"({{"min_tensor_elements":1,"modules":["{}"]}})", module)));
  };
  CHECK(of("attn_norm") == 3 * kStream);
  CHECK(of("qkv_linear") == 3 * kStream);
  CHECK(of("core_attn") == 3 * kCore);
  CHECK(of("attn_proj") == 3 * kStream);
  CHECK(of("mlp_norm") == 3 * kStream);
  CHECK(of("mlp_fc1") == 3 * kStream);
  CHECK(of("mlp_act") == 3 * (kGateUp + kActivation));
  CHECK(of("expert_fc1") == 0);
  CHECK(of("moe_act") == 0);
  // Whole layers that are computed again keep their input alone.
  CHECK(offloaded(offloading(kAll, {R"(/plan/recompute={"full":"uniform"})"})) == 3 * kStream);
}

TEST_CASE("Copies run beside the layers next to theirs", "[graph]") {
  const Prediction p = offloaded_run(offloading(kAll));
  // One GPU of a node has the 55 GB/s of its link to itself; then the gap between kernels.
  const double gap = p.study.cluster.node.gpu.launch_gap_us.value * 1e-6;
  for (int unit = 0; unit < 3; ++unit) {
    const auto stores = copies(p, OpKind::kStoreActivations, unit);
    const auto loads = copies(p, OpKind::kLoadActivations, unit);
    REQUIRE(stores.size() == 10);
    REQUIRE(loads.size() == 10);
    Picos wide;
    for (const OpRecord& r : stores) wide = std::max(wide, r.end - r.start);
    CHECK(wide == from_seconds(kGateUp / 55e9 + gap));
    // The first tensor leaves while the layer still runs; the layer after the next one waits for
    // the last.
    CHECK(stores[0].start < first_start(p, Phase::kForward, unit + 1));
    if (unit < 2) CHECK(first_start(p, Phase::kForward, unit + 2) >= last_end(stores));
    // They come back beside the backward of the layer above.
    CHECK(loads[0].start >= first_start(p, Phase::kBackward, unit + 1));
    CHECK(loads[0].start >= last_end(stores));
    CHECK(last_end(loads) <= last_end(records(p, [&](const Op& op) {
            return op.phase == Phase::kBackward && op.unit == unit &&
                   op.kind != OpKind::kLoadActivations;
          })));
  }
}

TEST_CASE("A slow host link is waited for, and the wait is reported", "[graph]") {
  const auto at = [](double rate, const std::string& offload) {
    return offloaded_run(
        offloading(offload, {fmt::format("/cluster/node/host_link_effective_GBps={}", rate)}));
  };
  const auto waits = [](const Prediction& p) {
    return p.breakdown.exposed[static_cast<std::size_t>(KernelClass::kHostCopy)];
  };
  const Prediction none = at(1, ""), slow = at(1, kAll), slower = at(0.5, kAll);
  CHECK(waits(none) == Picos(0));
  CHECK(waits(slow) > Picos(0));
  CHECK(slower.trace.step > slow.trace.step);
  CHECK(slow.trace.step > none.trace.step);
  // Four micro-batches leave and come back one after the other: at least that time of the link.
  CHECK(seconds(slower.trace.step) > 4 * 2 * 3 * kLayer / 0.5e9 * 0.9);
  const Picos longer = slow.trace.step - none.trace.step;
  CHECK(std::abs(seconds(waits(slow)) / seconds(longer) - 1) < 0.05);
}

TEST_CASE("Activations go to host memory under every schedule", "[graph]") {
  for (const std::string_view schedule : kScheduleNames)
    for (const char* recompute :
         {"{}", R"({"norms":true,"mla_up":true,"swiglu":true})", R"({"full":"uniform"})"}) {
      const bool pairs = schedule.starts_with("dualpipe");
      const bool chunks =
          schedule == "interleaved_1f1b" || schedule == "zb_v" || schedule == "dualpipe_v";
      const auto study = [&](const std::vector<std::string>& more) {
        std::vector<std::string> o = {
            fmt::format("/plan/schedule={}", schedule),
            "/model/num_hidden_layers=16",
            fmt::format("/plan/recompute={}", recompute),
            fmt::format("/plan/virtual_pipeline={}", chunks ? 2 : 1),
            fmt::format("/plan/layers_per_stage={}", chunks ? "[2,2,2,2,2,2,2,2]" : "[4,4,4,4]"),
            fmt::format("/plan/overlap_expert_parallel={}", pairs)};
        o.insert(o.end(), more.begin(), more.end());
        return small_cluster(o);
      };
      CAPTURE(schedule, recompute);
      // Layer inputs alone leave, and weight gradients put off hold more than these.
      const bool full = contains(recompute, "full");
      const StudySpec s = study({"/plan/offload_activations=" + kAll});
      const CompiledStudy here = compile_study(study({})), there = compile_study(s);
      for (const std::string& finding : verify(there.plan)) FAIL_CHECK(finding);
      SimOptions options = sim_options(s);
      options.record = true;
      const StepTrace without = simulate(here.plan, here.timing, options);
      const StepTrace with = simulate(there.plan, there.timing, options);
      CHECK(with.step >= without.step);
      for (std::size_t c = 0; c < with.memory.size(); ++c) {
        // The peak itself is in the optimizer step of so large a model on so few GPUs.
        CHECK(most_activations(with, c) <= most_activations(without, c));
        if (!full) CHECK(most_activations(with, c) < most_activations(without, c));
        CHECK(with.memory[c].host > Bytes(0));
        Picos sum = with.time[c].bubble;
        for (Picos b : with.time[c].block) sum += b;
        CHECK(sum == with.step);
      }
    }
}

TEST_CASE("What offload_activations does not go with is refused by name", "[graph]") {
  const auto error = [](const std::string& offload) {
    return error_of([&] { offloading(offload); });
  };
  CHECK(contains(error(R"({"modules":["atn_norm"]})"), "did you mean \"attn_norm\"?"));
  CHECK(contains(error(R"({"modules":[]})"), "names none"));
  CHECK(contains(error(R"({"layer":1})"), "layer"));
  CHECK(contains(error(R"({"layers":5})"),
                 "offload_activations.layers 5 exceeds the 4 layers of the fullest stage"));
  StudySpec s = offloading(kAll);
  s.cluster.node.host_link_effective_GBps.value = 0;
  REQUIRE(check_plan(s.plan, s.model, s.cluster).size() == 1);
  CHECK(contains(check_plan(s.plan, s.model, s.cluster)[0],
                 "offload_activations needs the node's host_link_GBps"));
}
