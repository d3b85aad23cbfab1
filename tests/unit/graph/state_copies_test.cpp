// Optimizer states in host memory: what they hold, when they are copied, and what that costs.
#include "sim/graph/state_copies.h"

#include <fmt/format.h>

#include "sim/exec/verify_backend.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// Llama on 4 GPUs: 3,475,456 parameters, padded to a multiple of 4 x 128, 868,992 of them owned.
constexpr int64_t kOwned = 868992, kChunk = 65536;

StudySpec state_llama(std::vector<std::string> more) {
  std::vector<std::string> o = {"/cluster/node/gpus=4", "/plan/data_parallel=4",
                                "/plan/global_batch=16",
                                fmt::format("/plan/offload_chunk_parameters={}", kChunk)};
  o.insert(o.end(), more.begin(), more.end());
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/tiny_llama", o, root);
}

Prediction state_run(bool offload, std::vector<std::string> more = {}) {
  more.push_back(fmt::format("/plan/offload_optimizer={}", offload));
  PredictOptions options;
  options.record = true;
  return predict(state_llama(std::move(more)), options);
}

int64_t held(const Prediction& p) {
  return p.plan.classes[0].static_bytes[static_cast<std::size_t>(BufferKind::kOptimizer)].count();
}

std::vector<OpRecord> records_of(const Prediction& p, const std::string& name) {
  std::vector<OpRecord> found;
  for (const OpRecord& r : p.trace.records)
    if (p.plan.graph_op(p.plan.ops[r.op]).name == name) found.push_back(r);
  return found;
}

int64_t most_on_gpu(const Prediction& p) {
  Bytes most{0};
  for (const MemorySample& s : p.trace.memory_timeline[0])
    most = std::max(most, s.by_kind[static_cast<std::size_t>(BufferKind::kOptimizer)]);
  return most.count();
}

}  // namespace

TEST_CASE("Offloaded optimizer states are in host memory, two chunks on the GPU", "[graph]") {
  const Prediction here = state_run(false), there = state_run(true);
  // FP32 master weights and two moments: 12 bytes.
  CHECK(held(here) == 12 * kOwned);
  CHECK(held(there) == 0);
  CHECK(there.plan.classes[0].host_bytes == Bytes(12 * kOwned));
  CHECK(there.memory[0].host == Bytes(12 * kOwned));
  CHECK(most_on_gpu(there) == 2 * 12 * kChunk);
  // The peak is in the passes, where no states are left.
  CHECK((here.trace.memory[0].peak - there.trace.memory[0].peak).count() == 12 * kOwned);
  CHECK(there.trace.step >= here.trace.step);
  CHECK(verify(there.plan).empty());
}

TEST_CASE("A chunk is copied at the host link's rate, the third when the first is back",
          "[graph]") {
  const Prediction p = state_run(true);
  const auto loads = records_of(p, "load states"), stores = records_of(p, "store states");
  const auto updates = records_of(p, "adamw");
  // 868,992 = 13 · 65,536 + 17,024.
  REQUIRE(loads.size() == 14);
  REQUIRE(stores.size() == 14);
  REQUIRE(updates.size() == 14);
  // 4 GPUs of a node whose memory moves 614.4 GB/s get 614.4 / 8 = 76.8 in each direction, more
  // than the 55 of their links: 786,432 bytes take 14.3 us, and the gap between kernels.
  const double gap = p.study.cluster.node.gpu.launch_gap_us.value * 1e-6;
  CHECK(loads[0].end - loads[0].start == from_seconds(12.0 * kChunk / 55e9 + gap));
  CHECK(loads[13].end - loads[13].start == from_seconds(12.0 * 17024 / 55e9 + gap));
  for (std::size_t i = 0; i < loads.size(); ++i) {
    CHECK(updates[i].start >= loads[i].end);
    CHECK(stores[i].start >= updates[i].end);
    if (i >= 2) CHECK(loads[i].start >= stores[i - 2].end);
  }
  // The second comes while the first is updated and goes.
  CHECK(loads[1].start < stores[0].start);
}

TEST_CASE("GPUs that copy at once share the host's memory", "[graph]") {
  // 8 GPUs, reads and writes: 614.4 / 16.
  StudySpec s = state_llama({});
  s.cluster.node.gpus = 8;
  CHECK(s.cluster.node.host_copy_per_rank().count() == Approx(38.4e9));
  s.cluster.node.gpus = 1;
  CHECK(s.cluster.node.host_copy_per_rank().count() == Approx(55e9));
}

TEST_CASE("Muon's states are copied batch by batch", "[graph]") {
  const Prediction here = state_run(false, {"/plan/optimizer=muon"}),
                   there = state_run(true, {"/plan/optimizer=muon"});
  // 737,280 parameters of Muon at 8 bytes, 131,712 of AdamW at 12 (see muon_test.cpp).
  CHECK(there.plan.classes[0].host_bytes == Bytes(8 * 737280 + 12 * 131712));
  CHECK(there.trace.step >= here.trace.step);
  CHECK(verify(there.plan).empty());
  // AdamW's 131,712 parameters in three chunks, and one of the matrices of each size.
  CHECK(records_of(there, "load states").size() == 3 + 3);
}

TEST_CASE("What offload_optimizer does not go with is refused by name", "[graph]") {
  const auto error = [](std::vector<std::string> more) {
    more.push_back("/plan/offload_optimizer=true");
    return error_of([&] { state_llama(std::move(more)); });
  };
  CHECK(contains(error({"/plan/zero_stage=3"}), "offload_optimizer needs zero_stage 0 to 2"));
  CHECK(
      contains(error({"/plan/optimizer=sgd"}), "offload_optimizer needs optimizer adamw or muon"));
  StudySpec s = state_llama({"/plan/offload_optimizer=true"});
  CHECK(check_plan(s.plan, s.model, s.cluster).empty());
  s.cluster.node.host_link_effective_GBps.value = 0;
  REQUIRE(check_plan(s.plan, s.model, s.cluster).size() == 1);
  CHECK(contains(check_plan(s.plan, s.model, s.cluster)[0], "the node's host_link_GBps"));
}
