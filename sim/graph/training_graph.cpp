#include "sim/graph/training_graph.h"

#include <algorithm>

namespace orrery {

const std::string_view kBufferKindNames[kBufferKinds] = {
    "weights", "gradients", "optimizer", "activations", "communication", "workspace"};

const std::string_view kSegmentNames[kSegmentKinds] = {
    "attn(F)",     "dispatch(F)", "mlp(F)",      "combine(F)", "combine(B)", "mlp(B)",
    "dispatch(B)", "attn(B)",     "norm(B)",     "mlp(W)",     "attn(W)",    "head(F)",
    "head(B)",     "head(W)",     "recv(F)",     "send(F)",    "recv(B)",    "send(B)",
    "optimizer",   "attn(R)",     "dispatch(R)", "mlp(R)",     "combine(R)", "gather(F)",
    "unshard(F)",  "gather(B)",   "unshard(B)",  "reduce(B)",  "offload(F)", "reload(B)"};

const std::string_view kStreamNames[kStreams] = {"compute",
                                                 "compute (wgrad)",
                                                 "expert all-to-all",
                                                 "send forward 0",
                                                 "recv forward 0",
                                                 "send backward 0",
                                                 "recv backward 0",
                                                 "send forward 1",
                                                 "recv forward 1",
                                                 "send backward 1",
                                                 "recv backward 1",
                                                 "gradient collectives",
                                                 "tensor collectives",
                                                 "host to device",
                                                 "device to host"};

const std::string_view kCommKindNames[kCommKinds] = {
    "none",   "pipeline forward", "pipeline backward", "expert",
    "data",   "expert-data",      "embedding",         "world",
    "tensor", "context",          "expert-tensor",     "stage",
    "shard",  "replica",          "expert-shard",      "expert-replica"};

bool Tensor::may_free(StreamKind stream, Phase phase, bool merged) const {
  for (const auto& [s, last] : last_use)
    if (s == stream)
      return phase == last || (merged && last == Phase::kWeight && phase == Phase::kBackward);
  return false;
}

void StageGraph::index_readers() {
  const auto use = [&](const Op& op, TensorId t) {
    auto& uses = tensors[t.v].last_use;
    const auto it =
        std::find_if(uses.begin(), uses.end(), [&](const auto& u) { return u.first == op.stream; });
    if (it == uses.end())
      uses.emplace_back(op.stream, op.phase);
    else
      it->second = std::max(it->second, op.phase);
  };
  for (Tensor& t : tensors) t.last_use.clear(), t.is_read = false;
  for (auto op = ops.rbegin(); op != ops.rend(); ++op)
    for_each_written(*op, [&](TensorId t) { tensors[t.v].written = op->phase; });
  for (const Op& op : ops)
    for_each_read(op, [&](TensorId t) { use(op, t), tensors[t.v].is_read = true; });
  // A result that nobody reads is freed by the op that wrote it.
  for (const Op& op : ops)
    for (TensorId t : outputs(op))
      if (!tensors[t.v].is_read) use(op, t);
  for (Tensor& t : tensors) t.readers = static_cast<uint8_t>(t.last_use.size());
}

const Segment* StageGraph::find(SegmentKind kind, int unit) const {
  for (const Segment& s : segments)
    if (s.kind == kind && s.unit == unit) return &s;
  return nullptr;
}

int64_t StageGraph::param_count(bool expert) const {
  int64_t n = 0;
  for (const Param& p : params)
    if (p.expert == expert && p.saved) n += p.count();
  return n;
}

ParamId StageGraph::find_param(std::string_view name, int32_t layer) const {
  for (std::size_t i = 0; i < params.size(); ++i)
    if (params[i].name == name && params[i].layer == layer) return {static_cast<uint32_t>(i)};
  return {};
}

KernelClass op_class(const Op& op) {
  if (op.comm == CommKind::kTensor || op.comm == CommKind::kExpertTensor)
    return KernelClass::kCommTensor;
  const bool gemm = op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8;
  // Grouped products have their scales copied by a strided elementwise kernel.
  if (op.kind == OpKind::kTransposeScales && op.row_proportional) return KernelClass::kElementwise;
  if (!gemm) return op_kind_class(op.kind);
  if (op.row_proportional)
    return op.layout == GemmLayout::kTN ? KernelClass::kGemmWgrad : KernelClass::kGemmGrouped;
  return op_kind_class(op.kind);
}

}  // namespace orrery
