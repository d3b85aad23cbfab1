#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

TEST_CASE("A step with collectives as flows of their steps is within 5 % of the formulas",
          "[exec]") {
  for (const char* schedule : {"/plan/schedule=dualpipe", "/plan/schedule=1f1b"}) {
    const StudySpec s = small_cluster({schedule});
    PredictOptions o;
    o.allow_oom = true;
    const double formula = predict(s, o).step_time_s;
    o.collectives = CollectiveTier::kChunk;
    const double chunk = predict(s, o).step_time_s;
    CAPTURE(schedule, formula, chunk);
    CHECK(std::abs(chunk / formula - 1) < 0.05);
  }
}
