#include <algorithm>

#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

Prediction tiny(double host_issue_us) {
  const std::string root = kSourceDir;
  StudySpec s = load_study(root + "/experiments/tiny_llama", {}, root);
  s.stack.host_issue_us.value = host_issue_us;
  PredictOptions options;
  options.allow_oom = true;
  return predict(s, options);
}

int64_t kernels(const ExecPlan& plan) {
  const RankClass& c = plan.classes[0];
  int64_t n = 0;
  for (const Call& call : c.calls) {
    const auto& instrs = c.blocks[call.block].instrs;
    n += std::count_if(instrs.begin(), instrs.end(),
                       [](const Instr& i) { return i.kind == Instr::Kind::kLaunch; });
  }
  return n;
}

}  // namespace

TEST_CASE("A slow host sets the pace, a fast one does not show", "[exec]") {
  const Prediction none = tiny(0);
  CHECK(none.trace.host_wait[0] == Picos(0));
  CHECK(none.warnings.empty());
  // Kernels of a few microseconds, one issued every 100: the last one starts when the host has
  // issued it.
  const Prediction slow = tiny(100);
  const double issued = 100e-6 * static_cast<double>(kernels(slow.plan));
  CHECK(seconds(slow.trace.step) >= issued);
  CHECK(seconds(slow.trace.step) < 1.05 * issued);
  CHECK(slow.trace.host_wait[0] > Picos(0));
  REQUIRE(slow.warnings.size() == 1);
  CHECK(contains(slow.warnings[0], "CPU-bound: compute kernels wait"));
  // A host that is ahead costs the issue of the first kernel.
  const Prediction fast = tiny(0.01);
  CHECK(fast.trace.step >= none.trace.step);
  CHECK(seconds(fast.trace.step - none.trace.step) < 1e-6);
}
