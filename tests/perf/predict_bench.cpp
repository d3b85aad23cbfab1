// The main job: DeepSeek-V3 on 2048 GPUs from a loaded experiment, and the event loop on its own.
#include <cstdio>
#include <memory>

#include "sim/exec/verify_backend.h"
#include "sim/study/predict.h"
#include "tests/perf/bench.h"

namespace orrery {
namespace {

int run_all(int argc, char** argv) {
  const std::string root = ORRERY_SOURCE_DIR;
  const StudySpec study = load_study(root + "/experiments/deepseek_v3", {}, root);
  const auto compiled = std::make_shared<CompiledStudy>(compile_study(study));
  const SimOptions options = sim_options(study);
  const auto events =
      static_cast<uint64_t>(simulate(compiled->plan, compiled->timing, options).events);
  Bench bench(argc, argv);
  const auto nothing = [] { return 0; };
  bench.run("predict/deepseek_v3", 1, nothing,
            [&](int&) { return static_cast<uint64_t>(predict(study, {}).trace.step.count()); });
  bench.run("compile/deepseek_v3", 1, nothing,
            [&](int&) { return static_cast<uint64_t>(compile_study(study).plan.ops.size()); });
  bench.run("verify/deepseek_v3", 1, nothing,
            [&](int&) { return static_cast<uint64_t>(verify(compiled->plan).size()); });
  // Time per event: 10^9 over this is events per second.
  bench.run("event_loop/deepseek_v3", events, nothing, [&](int&) {
    return static_cast<uint64_t>(simulate(compiled->plan, compiled->timing, options).step.count());
  });
  return bench.finish();
}

}  // namespace
}  // namespace orrery

int main(int argc, char** argv) { return orrery::run_all(argc, argv); }
