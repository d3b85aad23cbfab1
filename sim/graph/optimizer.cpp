#include "sim/graph/optimizer.h"

namespace orrery {
namespace {

constexpr int64_t kGradBytes = 4;    // FP32
constexpr int64_t kWeightBytes = 2;  // BF16, as gathered
// Reads the FP32 gradient and master weight and the BF16 moments; writes master, moments and the
// BF16 weight.
constexpr int64_t kAdamWBytes = 4 + 4 + 2 + 2 + 4 + 2 + 2 + 2;
constexpr int64_t kCastBytes = 2 + 1;  // BF16 weight to FP8

void collective(StageBuilder& b, OpKind kind, const std::string& name, CommKind comm,
                int64_t params, int64_t bytes, TensorId in, TensorId out) {
  b.stream(StreamKind::kGradient);
  b.op(kind, name, {.m = params, .n = bytes},
       in.valid() ? std::vector{in} : std::vector<TensorId>{}, {out});
  b.graph().ops.back().comm = comm;
  b.stream(StreamKind::kCompute);
}

}  // namespace

StageGraph build_optimizer(const GraphConfig& config, const std::vector<OptimizerShare>& shares,
                           int64_t params) {
  StageBuilder b(config);
  b.begin(SegmentKind::kOptimizer, 0, -1);
  int64_t owned = 0;
  std::vector<TensorId> reduced;
  for (const OptimizerShare& s : shares) {
    reduced.push_back(b.tensor("reduced gradients", Dtype::kFp32, 1, 1, BufferKind::kWorkspace));
    collective(b, s.shards > 1 ? OpKind::kReduceScatter : OpKind::kAllReduce, "reduce gradients",
               s.comm, s.params, kGradBytes, {}, reduced.back());
    b.graph().ops.back().unit = static_cast<int16_t>(s.chunk);
    owned += s.params / s.shards;
  }
  const TensorId norm = b.tensor("gradient norm", Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
  b.op(OpKind::kGradNorm, "gradient norm", {.m = owned, .n = kGradBytes}, reduced, {norm});
  const TensorId total = b.tensor("global norm", Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
  collective(b, OpKind::kAllReduce, "reduce norm", CommKind::kWorld, 1, kGradBytes, norm, total);
  const TensorId updated = b.tensor("updated", Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
  b.op(OpKind::kAdamW, "adamw", {.m = owned, .n = kAdamWBytes}, {total}, {updated});
  std::vector<TensorId> gathered;
  for (const OptimizerShare& s : shares) {
    if (s.shards == 1) continue;
    gathered.push_back(b.tensor("gathered", Dtype::kBf16, 1, 1, BufferKind::kWorkspace));
    collective(b, OpKind::kAllGather, "gather weights", s.comm, s.params, kWeightBytes, updated,
               gathered.back());
    b.graph().ops.back().unit = static_cast<int16_t>(s.chunk);
  }
  b.op(OpKind::kZeroGrad, "zero gradients", {.m = params, .n = kGradBytes}, {}, {});
  gathered.push_back(updated);
  b.op(OpKind::kCast, "cast weights", {.m = params, .n = 1}, gathered, {});
  b.graph().ops.back().work.hbm = Bytes(params * kCastBytes);
  return b.finish();
}

}  // namespace orrery
