#include "sim/graph/written_gradients.h"

#include "sim/graph/param_groups.h"

namespace orrery {
namespace {

constexpr int64_t kGradientBytes = 4;  // FP32

}  // namespace

void mark_written_gradients(const GraphConfig& config, StageGraph& g) {
  const PlanSpec& plan = config.plan;
  const bool whole_fp32 = !plan.dp.shards_gradients() && plan.dp.gradient_bytes() == kGradientBytes;
  if (!config.stack.writes_gradients || plan.micro_batches() > 1 || !whole_fp32) return;
  std::vector<std::vector<Op*>> writers(g.params.size());
  for (Op& op : g.ops) {
    if (!writes_gradient(op)) continue;
    if (op.param.valid()) writers[op.param.v].push_back(&op);
    if (op.bias.valid()) writers[op.bias.v].push_back(&op);
  }
  for (std::size_t i = 0; i < writers.size(); ++i) {
    if (writers[i].size() != 1) continue;
    Op& op = *writers[i].front();
    Param& p = g.params[i];
    const int64_t made = op.shape.m * op.shape.n * std::max<int64_t>(1, op.shape.groups);
    const bool product = op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8Wgrad;
    if (!product || !op.param.valid() || op.param.v != i || made != p.count()) continue;
    p.gradient_written = op.writes_gradient = true;
    op.work.hbm -= Bytes(kGradientBytes * made);
  }
}

}  // namespace orrery
