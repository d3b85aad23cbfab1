// The backward of the whole graph against central differences of its loss, in double.
#include "tests/unit/runtime/gradient_check.h"

namespace orrery {
namespace {

TEST_CASE("gradients: DeepSeek-V3's layers, experts and MTP against differences",
          "[runtime][long]") {
  check_gradients({.more = {"/plan/global_batch=1", "/plan/sequence_length=8"}});
}

TEST_CASE("gradients: the FP8 recipe's graph against differences", "[runtime][long]") {
  check_gradients(
      {.more = {"/plan/global_batch=1", "/plan/sequence_length=8", "/plan/precision=fp8",
                "/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}});
}

}  // namespace
}  // namespace orrery
