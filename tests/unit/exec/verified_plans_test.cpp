#include "sim/exec/verified_plans.h"

#include "sim/base/error.h"
#include "sim/schedule/compile_plan.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

ExecPlan plan_of(const std::vector<std::string>& overrides) {
  const StudySpec s = small_cluster(overrides);
  return compile_plan({s.model, s.plan, s.stack, s.cluster.node.gpus});
}

// The first instruction of that kind in the blocks of the first class.
Instr& first(ExecPlan& plan, Instr::Kind kind) {
  for (Block& b : plan.classes[0].blocks)
    for (Instr& i : b.instrs)
      if (i.kind == kind) return i;
  throw Error(ExitCode::kInternal, "there is none");
}

}  // namespace

TEST_CASE("A plan that is not sound is refused whatever was verified before", "[exec]") {
  VerifiedPlans verified;
  const ExecPlan sound = plan_of({});
  verified.verify(sound);
  verified.verify(sound);
  ExecPlan early = sound;  // uses what has not been written
  std::swap(early.classes[0].calls.front(), early.classes[0].calls.back());
  for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(verified.verify(early), Infeasible);
}

TEST_CASE("Plans that verification can tell apart have different digests", "[exec]") {
  const ExecPlan plan = plan_of({});
  const uint64_t digest = plan_digest(plan);
  CHECK(plan_digest(plan_of({})) == digest);
  // What only takes other times is the same to it.
  CHECK(plan_digest(plan_of({"/cluster/node/gpu/hbm_bandwidth_GBps=2000",
                             "/stack/dispatch/alone_fraction=0.5"})) == digest);
  CHECK(plan_digest(plan_of({"/plan/schedule=1f1b"})) != digest);
  CHECK(plan_digest(plan_of({"/plan/global_batch=128"})) != digest);
  CHECK(plan_digest(plan_of({"/plan/sequence_length=2048"})) != digest);  // bytes of transfers
  for (const Instr::Kind kind : {Instr::Kind::kLaunch, Instr::Kind::kRecord, Instr::Kind::kWait,
                                 Instr::Kind::kAlloc, Instr::Kind::kFree}) {
    ExecPlan other = plan;
    ++first(other, kind).arg;
    CHECK(plan_digest(other) != digest);
  }
  ExecPlan other = plan;
  std::swap(other.classes[1].calls[0], other.classes[1].calls[1]);
  CHECK(plan_digest(other) != digest);
  other = plan;
  ++other.classes[1].communicators[0].key;
  CHECK(plan_digest(other) != digest);
  other = plan;
  ++other.stages[1].tensors[0].readers;
  CHECK(plan_digest(other) != digest);
}
