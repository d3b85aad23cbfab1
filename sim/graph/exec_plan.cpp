#include "sim/graph/exec_plan.h"

#include <fmt/format.h>

namespace orrery {

const std::string_view kBlockKindNames[kBlockKinds] = {
    "forward", "backward", "backward input", "weight", "forward+backward", "recv", "optimizer"};

std::string ExecPlan::op_name(uint32_t plan_op) const {
  const Op& op = graph_op(ops[plan_op]);
  const std::string_view segment = kSegmentNames[static_cast<std::size_t>(op.segment)];
  if (op.layer < 0) return fmt::format("{} {}", segment, op.name);
  return fmt::format("layer {} {} {}", op.layer, segment, op.name);
}

}  // namespace orrery
