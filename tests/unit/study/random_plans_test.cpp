// Whatever model, cluster and plan are put together: the simulation ends with a result whose parts
// agree, or with an error that says why not.
#include <fmt/format.h>

#include "sim/study/analytic.h"
#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

constexpr uint64_t kSeed = 20260601;
constexpr int kPlans = 40;

class PlanRandom {
 public:
  explicit PlanRandom(uint64_t seed) : state_(seed) {}
  int64_t below(int64_t n) {
    return static_cast<int64_t>(hashed(state_++) % static_cast<uint64_t>(n));
  }
  int64_t of(std::initializer_list<int64_t> v) {
    return v.begin()[below(static_cast<int64_t>(v.size()))];
  }
  bool coin() { return below(2) == 1; }

 private:
  uint64_t state_;
};

struct RandomStudy {
  std::string experiment;
  std::vector<std::string> overrides;
  std::string text() const {
    std::string out = experiment;
    for (const std::string& o : overrides) out += " --set " + o;
    return out;
  }
  StudySpec load(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), overrides.begin(), overrides.end());
    return load_study(std::string(kSourceDir) + "/experiments/" + experiment, more, kSourceDir);
  }
};

RandomStudy random_study(PlanRandom& r) {
  RandomStudy s;
  const bool moe = r.coin();
  s.experiment = moe ? "tiny_moe_4_ranks" : "tiny_llama";
  const auto kind = static_cast<ScheduleKind>(r.below(kSchedules));
  const bool two_ends = kind == ScheduleKind::kDualPipe || kind == ScheduleKind::kDualPipeV;
  const bool v_shape = kind == ScheduleKind::kZbV || kind == ScheduleKind::kDualPipeV;
  const int64_t pp = two_ends ? r.of({2, 4}) : r.of({1, 1, 2, 3, 4});
  const int64_t chunks = v_shape || kind == ScheduleKind::kInterleaved1F1B ? 2 : 1;
  const int64_t ep = moe ? r.of({1, 2, 4}) : 1, dp = ep * r.of({1, 2});
  std::string split;
  int64_t layers = 0;
  for (int64_t i = 0; i < pp * chunks; ++i) {
    const int64_t n = (i == 0 && pp * chunks > 1 ? 0 : 1) + r.below(2);
    layers += n;
    split += fmt::format("{}{}", i == 0 ? "" : ",", n);
  }
  // Now and then something that does not fit together.
  if (r.below(8) == 0) ++layers;
  const auto set = [&](const char* pointer, const auto& value) {
    s.overrides.push_back(fmt::format("{}={}", pointer, value));
  };
  set("/model/num_hidden_layers", layers);
  set("/plan/pipeline_parallel", pp);
  set("/plan/expert_parallel", ep);
  set("/plan/data_parallel", dp);
  set("/plan/layers_per_stage", "[" + split + "]");
  const int64_t micro_batch = r.of({1, 2});
  set("/plan/micro_batch", micro_batch);
  set("/plan/global_batch", dp * micro_batch * pp * r.of({2, 3, 4}));
  set("/plan/sequence_length", r.of({64, 128, 200, 512}));
  set("/plan/precision", r.coin() ? "fp8" : "bf16");
  set("/plan/zero_stage", r.below(2));
  set("/plan/optimizer", r.below(3) == 0 ? "muon" : "adamw");
  set("/plan/offload_optimizer", r.below(3) == 0);
  if (r.below(3) == 0)
    set("/plan/offload_activations",
        fmt::format("{{\"min_tensor_elements\":{}}}", r.of({1, 10000})));
  set("/plan/schedule", kScheduleNames[static_cast<std::size_t>(kind)]);
  set("/plan/virtual_pipeline", chunks);
  // One watt to switch with, so that these small products share a low clock.
  if (r.coin()) {
    set("/cluster/node/gpu/power/limit_W", 151);
    set("/cluster/node/gpu/power/pJ_per_byte", 0.001);
  }
  set("/cluster/nodes", pp);
  set("/cluster/node/gpus", dp);
  set("/cluster/node/nics", dp);
  return s;
}

Prediction random_run(const StudySpec& s, Folding folding = Folding::kFolded) {
  PredictOptions o;
  o.allow_oom = true;
  o.folding = folding;
  return predict(s, o);
}

// Calls f with every random plan that can run; returns how many could.
template <class F>
int for_each_plan(F f) {
  PlanRandom random(kSeed);
  int ran = 0;
  for (int i = 0; i < kPlans; ++i) {
    const RandomStudy study = random_study(random);
    CAPTURE(kSeed, i, study.text());
    try {
      const StudySpec s = study.load();
      f(study, s);
      ++ran;
    } catch (const Infeasible& e) {
      CHECK(std::string(e.what()).size() > 20);
    } catch (const InputError& e) {
      CHECK(contains(e.what(), "/"));  // names a JSON pointer
    }
  }
  return ran;
}

}  // namespace

TEST_CASE("A random plan is simulated, or refused with a reason", "[study]") {
  const int ran = for_each_plan([](const RandomStudy&, const StudySpec& s) {
    const Prediction p = random_run(s);
    CHECK(p.step_time_s > 0);
    CHECK(p.mfu.causal < 1);
    for (const Breakdown& b : p.per_rank)
      CHECK(b.forward + b.backward + b.backward_input + b.weight + b.overlapped_pairs + b.bubble +
                b.optimizer ==
            p.trace.step);
    for (const StageMemory& m : p.memory) {
      Bytes sum;
      for (Bytes b : m.memory.by_kind) sum += b;
      CHECK(sum == m.memory.peak);
    }
    CHECK(analytic_step(s).step_s <= p.step_time_s * (1 + 1e-7));
  });
  CHECK(ran > kPlans / 3);
}

TEST_CASE("A random plan takes as long folded as rank by rank, skipped or not", "[study]") {
  for_each_plan([](const RandomStudy&, const StudySpec& s) {
    const CompiledStudy c = compile_study(s);
    SimOptions o = sim_options(s);
    const Picos folded = simulate(c.plan, c.timing, o).step;
    o.fast_forward = false;
    CHECK(simulate(c.plan, c.timing, o).step == folded);
    o.folding = Folding::kUnfolded;
    CHECK(simulate(c.plan, c.timing, o).step == folded);
  });
}

// Streams are FIFO and waits are fixed, so a faster op delays nothing by itself. Legal anomalies:
// an op that ends earlier lets another one start beside a third, which both slows down (SMs, HBM,
// ports); and of two compute streams the one that is ready first goes first (Graham, 1969). With
// neither communication nor a second compute stream there are none.
TEST_CASE("Faster hardware does not slow a random plan down", "[study]") {
  for_each_plan([](const RandomStudy& study, const StudySpec& s) {
    const double base = random_run(s).step_time_s;
    const bool alone = s.plan.pipeline_parallel == 1 && s.plan.data_parallel == 1;
    const double allowed = alone ? 1 + 1e-9 : 1.01;
    const GpuSpec& g = s.cluster.node.gpu;
    const auto faster = [&](const char* pointer, double value) {
      CAPTURE(pointer);
      CHECK(random_run(study.load({fmt::format("{}={}", pointer, value)})).step_time_s <=
            base * allowed);
    };
    faster("/cluster/node/gpu/hbm_bandwidth_GBps", 1.5 * g.hbm_bandwidth_GBps.value);
    faster("/cluster/node/gpu/bf16_dense_TFLOPS", 1.5 * g.bf16_dense_TFLOPS.value);
    faster("/cluster/latency_us", s.cluster.latency_us.value / 1.5);
  });
}
