#include "sim/graph/training_graph.h"

namespace orrery {

const std::string_view kBufferKindNames[kBufferKinds] = {"weights",     "gradients",
                                                         "optimizer",   "activations",
                                                         "communication", "workspace"};

const std::string_view kSegmentNames[kSegmentKinds] = {
    "attn(F)", "dispatch(F)", "mlp(F)",  "combine(F)", "combine(B)", "mlp(B)",  "dispatch(B)",
    "attn(B)", "mlp(W)",      "attn(W)", "head(F)",    "head(B)",    "head(W)",
    "recv(F)", "send(F)",     "recv(B)", "send(B)",    "optimizer"};

const std::string_view kStreamNames[kStreams] = {
    "compute",         "compute (wgrad)", "expert all-to-all", "send forward 0",
    "recv forward 0",  "send backward 0", "recv backward 0",   "send forward 1",
    "recv forward 1",  "send backward 1", "recv backward 1",   "gradient collectives"};

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
