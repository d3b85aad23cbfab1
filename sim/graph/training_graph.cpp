#include "sim/graph/training_graph.h"

#include <bit>

namespace orrery {

const std::string_view kBufferKindNames[kBufferKinds] = {
    "weights", "gradients", "optimizer", "activations", "communication", "workspace"};

const std::string_view kSegmentNames[kSegmentKinds] = {
    "attn(F)",     "dispatch(F)", "mlp(F)",  "combine(F)", "combine(B)", "mlp(B)",
    "dispatch(B)", "attn(B)",     "mlp(W)",  "attn(W)",    "head(F)",    "head(B)",
    "head(W)",     "recv(F)",     "send(F)", "recv(B)",    "send(B)",    "optimizer"};

const std::string_view kStreamNames[kStreams] = {
    "compute",        "compute (wgrad)", "expert all-to-all", "send forward 0",
    "recv forward 0", "send backward 0", "recv backward 0",   "send forward 1",
    "recv forward 1", "send backward 1", "recv backward 1",   "gradient collectives"};

const std::string_view kCommKindNames[kCommKinds] = {
    "none", "pipeline forward", "pipeline backward", "expert", "data", "expert-data", "world"};

void StageGraph::index_readers() {
  std::vector<uint32_t> streams(tensors.size(), 0);
  const auto read = [&](const Op& op, TensorId t) {
    Tensor& tensor = tensors[t.v];
    if (op.phase > tensor.last_use) tensor.last_use = op.phase, streams[t.v] = 0;
    if (op.phase == tensor.last_use) streams[t.v] |= 1u << static_cast<unsigned>(op.stream);
  };
  // A result that nobody reads is freed by the op that wrote it.
  for (const Op& op : ops)
    for (TensorId t : outputs(op)) tensors[t.v].last_use = op.phase;
  for (const Op& op : ops)
    for (TensorId t : inputs(op)) read(op, t), tensors[t.v].is_read = true;
  for (const Op& op : ops)
    for (TensorId t : outputs(op))
      if (!tensors[t.v].is_read) read(op, t);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    tensors[i].readers = static_cast<uint8_t>(std::popcount(streams[i]));
}

const Segment* StageGraph::find(SegmentKind kind, int unit) const {
  for (const Segment& s : segments)
    if (s.kind == kind && s.unit == unit) return &s;
  return nullptr;
}

int64_t StageGraph::param_count(bool expert) const {
  int64_t n = 0;
  for (const Param& p : params)
    if (p.expert == expert) n += p.count();
  return n;
}

}  // namespace orrery
