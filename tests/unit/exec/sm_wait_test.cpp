#include <string>
#include <vector>

#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;

namespace {

StudySpec two_h200(const std::vector<std::string>& changes) {
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/validation_h200/dense_nvlink", changes, root);
}

Prediction predicted(const StudySpec& s, bool waits, bool early, bool fast_forward = true) {
  StudySpec changed = s;
  changed.stack.communication_waits_for_sms = waits;
  changed.stack.posts_receives_early = early;
  PredictOptions options;
  options.allow_oom = true;
  options.fast_forward = fast_forward;
  return predict(changed, options);
}

}  // namespace

TEST_CASE("A receive that waits for its sender slows the products beside it", "[exec]") {
  const StudySpec s = two_h200(
      {"/plan/pipeline_parallel=2", "/plan/layers_per_stage=[3,3]", "/plan/global_batch=8"});
  const Picos held = predicted(s, false, true).trace.step;
  const Picos free = predicted(s, false, false).trace.step;
  CHECK(held > free);
  CHECK(seconds(held) < 2 * seconds(free));
}

TEST_CASE("Rows that travel beside products wait for the products' SMs", "[exec]") {
  const StudySpec s = two_h200({"/plan/tensor_parallel=2", "/plan/sequence_parallel=true",
                                "/plan/overlap_tensor_parallel=true", "/plan/global_batch=8"});
  const Prediction waits = predicted(s, true, false);
  CHECK(waits.trace.step > predicted(s, false, false).trace.step);
  // What is skipped is what would have been simulated.
  CHECK(waits.trace.step == predicted(s, true, false, false).trace.step);
}
