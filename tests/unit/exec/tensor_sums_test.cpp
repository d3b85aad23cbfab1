// When the sums of input gradients over a tensor-parallel group start.
#include <algorithm>

#include "sim/study/predict.h"
#include "tests/catch.h"
#include "tests/source_dir.h"

using namespace orrery;

namespace {

StudySpec vanilla(bool after_weights) {
  const std::string root = kSourceDir;
  StudySpec s =
      load_study(root + "/experiments/validation/torchtitan/8b_tp8_bf16_vanilla.json", {}, root);
  s.stack.sums_after_weight_gradients = after_weights;
  return s;
}

PredictOptions recording() {
  PredictOptions o;
  o.record = true;
  return o;
}

// Of an op of each layer, in the order of the backward.
std::vector<OpRecord> named(const Prediction& p, std::string_view name) {
  std::vector<OpRecord> found;
  for (const OpRecord& r : p.trace.records)
    if (p.plan.graph_op(p.plan.ops[r.op]).name == name) found.push_back(r);
  std::sort(found.begin(), found.end(),
            [](const OpRecord& a, const OpRecord& b) { return a.start < b.start; });
  return found;
}

}  // namespace

TEST_CASE("Sums of input gradients travel beside weight gradients, or after them", "[exec]") {
  const Prediction beside = predict(vanilla(false), recording());
  const Prediction after = predict(vanilla(true), recording());
  for (const auto& [sum, product] : {std::pair{"mlp input grad reduce-scatter", "mlp up wgrad"},
                                     std::pair{"attn input grad reduce-scatter", "v_proj wgrad"}}) {
    CAPTURE(sum);
    for (const bool late : {false, true}) {
      const std::vector<OpRecord> sums = named(late ? after : beside, sum);
      const std::vector<OpRecord> products = named(late ? after : beside, product);
      REQUIRE(sums.size() == 32);
      REQUIRE(products.size() == 32);
      // All but the first layer's attention, the last of the backward, whose norm follows at once.
      for (std::size_t i = 0; i + 1 < sums.size(); ++i)
        CHECK((sums[i].start >= products[i].end) == late);
    }
  }
  CHECK(after.trace.step > beside.trace.step);
}
