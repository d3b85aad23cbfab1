#include "sim/graph/activation_copies.h"

#include <algorithm>

namespace orrery {
namespace {

constexpr int kNever = -1;

bool is_cast(OpKind k) { return op_kind_class(k) == KernelClass::kQuantCast; }

class ActivationCopier {
 public:
  ActivationCopier(const GraphConfig& config, StageGraph graph, const ModuleTensors& modules,
                   bool last_stage)
      : offload_(*config.plan.offload_activations),
        modules_(modules),
        b_(config, std::move(graph)),
        uses_(b_.graph().tensors.size()) {
    find_layers(last_stage && config.plan.schedule != ScheduleKind::kGPipe);
    find_uses();
  }

  StageGraph run() {
    const auto tensors = static_cast<uint32_t>(uses_.size());
    std::vector<Copy> copies;
    for (uint32_t t = 0; t < tensors; ++t)
      if (leaves({t})) copies.push_back({{t}, {}, {}});
    if (copies.empty()) return std::move(b_.graph());
    for_each_unit(copies, &Use::written, SegmentKind::kOffloadF, [&](Copy& c) { store(c); });
    for_each_unit(copies, &Use::read, SegmentKind::kReloadB, [&](Copy& c) { load(c); });
    read_reloaded(copies);
    return b_.finish();
  }

 private:
  struct Use {
    int written = kNever;  // unit of the last forward op that writes it
    uint32_t last_write = 0;
    OpKind writer = OpKind::kCopy;
    TensorId source;          // of a cast: what it casts
    int read = kNever;        // unit whose backward reads it first
    uint32_t first_read = 0;  // by op, in the order of the graph
  };
  struct Copy {
    TensorId on_gpu, on_host, again;
  };

  StageGraph& graph() { return b_.graph(); }

  // Layers whose tensors leave; heads and an embedding alone stay.
  void find_layers(bool keep_last) {
    const StageGraph& g = graph();
    int last = kNever;
    for (int u = 0; u < g.units; ++u) {
      const bool layer = g.find(SegmentKind::kMlpB, u) != nullptr;
      leaves_.push_back(layer && u < offload_.layers.value_or(g.units));
      if (layer) last = u;
    }
    if (keep_last && last != kNever) leaves_[static_cast<std::size_t>(last)] = false;
  }

  // The unit before whose backward an op of it runs: forwards that run again do so before the
  // backward of the last of their group.
  int backward_unit(const Op& op) {
    const std::vector<int>& from = graph().recompute_from;
    const bool again = op.segment >= SegmentKind::kAttnR && op.segment <= SegmentKind::kCombineR;
    for (int u = op.unit; again && u < graph().units; ++u)
      if (const int first = from[static_cast<std::size_t>(u)]; first >= 0 && first <= op.unit)
        return u;
    return op.unit;
  }

  void find_uses() {
    for (uint32_t i = 0; i < graph().ops.size(); ++i) {
      const Op& op = graph().ops[i];
      if (op.phase != Phase::kForward) {
        const int unit = backward_unit(op);
        for (TensorId t : graph().inputs(op)) {
          Use& u = uses_[t.v];
          if (unit > u.read) u.read = unit, u.first_read = i;
        }
        continue;
      }
      const auto write = [&](TensorId t) {
        Use& u = uses_[t.v];
        u.written = op.unit, u.last_write = i;
        u.writer = op.kind;
        u.source = is_cast(op.kind) ? graph().inputs(op)[0] : TensorId{};
      };
      for (TensorId t : graph().outputs(op)) write(t);
      if (modifies_first_input(op.kind)) write(graph().inputs(op)[0]);
    }
  }

  // A cast of a tensor is its module's.
  bool module_leaves(TensorId t) const {
    const OffloadModule* m = modules_.find(t);
    if (const TensorId of = uses_[t.v].source; m == nullptr && of.valid()) m = modules_.find(of);
    return m == nullptr ? offload_.modules.none() : offload_.takes(*m);
  }

  bool leaves(TensorId id) {
    const Use& u = uses_[id.v];
    if (u.written == kNever || u.read == kNever || !leaves_[static_cast<std::size_t>(u.written)])
      return false;
    if (u.writer == OpKind::kLoadTokens) return false;  // the step's input, not a layer's
    const Tensor& t = graph().tensors[id.v];
    const bool activation = t.kind == BufferKind::kActivations || id == graph().act_in;
    return activation && t.rows * t.cols >= offload_.min_tensor_elements && module_leaves(id);
  }

  // The copies of each unit, in the order in which they are written or read.
  template <class F>
  void for_each_unit(std::vector<Copy>& copies, int Use::*unit, SegmentKind segment, F f) {
    const bool out = segment == SegmentKind::kOffloadF;
    const auto at = [&](const Copy& c) {
      const Use& u = uses_[c.on_gpu.v];
      return out ? u.last_write : u.first_read;
    };
    std::stable_sort(copies.begin(), copies.end(),
                     [&](const Copy& x, const Copy& y) { return at(x) < at(y); });
    for (int u = 0; u < graph().units; ++u) {
      bool begun = false;
      for (Copy& c : copies) {
        if (uses_[c.on_gpu.v].*unit != u) continue;
        if (!begun) b_.begin(segment, u, layer_of(u));
        b_.stream(out ? StreamKind::kDeviceToHost : StreamKind::kHostToDevice);
        begun = true;
        f(c);
      }
    }
  }

  int layer_of(int unit) {
    for (const Op& op : graph().ops)
      if (op.unit == unit && op.layer >= 0) return op.layer;
    return -1;
  }

  TensorId twin(TensorId of, const char* where, BufferKind kind) {
    Tensor t = graph().tensors[of.v];
    t.name += where;
    t.kind = kind;
    graph().tensors.push_back(std::move(t));
    return {static_cast<uint32_t>(graph().tensors.size() - 1)};
  }

  void copy(OpKind kind, const char* name, TensorId from, TensorId to) {
    const Tensor& t = graph().tensors[from.v];
    b_.op(kind, name + t.name, {.m = t.rows, .n = t.cols}, {from}, {to});
  }

  void store(Copy& c) {
    c.on_host = twin(c.on_gpu, " in host memory", BufferKind::kHost);
    copy(OpKind::kStoreActivations, "offload ", c.on_gpu, c.on_host);
  }

  void load(Copy& c) {
    c.again = twin(c.on_gpu, " again", graph().tensors[c.on_gpu.v].kind);
    graph().tensors[c.again.v].reloaded = uses_[c.on_gpu.v].read + 1 == graph().units;
    copy(OpKind::kLoadActivations, "reload ", c.on_host, c.again);
  }

  void read_reloaded(const std::vector<Copy>& copies) {
    std::vector<TensorId> again(graph().tensors.size());
    for (const Copy& c : copies) again[c.on_gpu.v] = c.again;
    const auto replace = [&](TensorId& t) {
      if (t.valid() && again[t.v].valid()) t = again[t.v];
    };
    for (Op& op : graph().ops) {
      if (op.phase == Phase::kForward) continue;
      for (uint32_t i = 0; i < op.inputs; ++i) replace(graph().operands[op.first_operand + i]);
      replace(op.keeps);
    }
  }

  const ActivationOffload& offload_;
  const ModuleTensors& modules_;
  StageBuilder b_;
  std::vector<Use> uses_;     // of each tensor of the stage
  std::vector<bool> leaves_;  // per unit
};

}  // namespace

void ModuleTensors::add(OffloadModule m, std::initializer_list<TensorId> tensors) {
  for (TensorId t : tensors)
    if (t.valid() && find(t) == nullptr) of_.emplace_back(t, m);
}

void ModuleTensors::add(const AttentionTape& a, const FfnTape& f, bool moe) {
  add(OffloadModule::kAttnNorm, {a.input});
  add(OffloadModule::kMlpNorm, {f.input});
  add(OffloadModule::kAttnProj, {a.core_stash, a.core.out});
  add(OffloadModule::kQkvLinear,
      {a.normed, a.q_latent, a.kv_latent, a.k_rope, a.q_normed, a.kv_normed});
  add(OffloadModule::kCoreAttn, {a.q, a.k, a.v, a.core.operands.q, a.core.lse, a.core.probabilities,
                                 a.core.dropped, a.core.mask});
  for (TensorId t : a.core.operands.kv) add(OffloadModule::kCoreAttn, {t});
  if (moe) {
    add(OffloadModule::kExpertFc1, {f.arrived});
    add(OffloadModule::kMoeAct, {f.expert_gate_up_kept});
  }
  add(OffloadModule::kMlpFc1, {f.normed});
  add(OffloadModule::kMlpAct, {f.gate_up_kept, f.up_kept, f.activation_kept});
}

const OffloadModule* ModuleTensors::find(TensorId t) const {
  for (const auto& [id, module] : of_)
    if (id == t) return &module;
  return nullptr;
}

StageGraph with_activation_copies(const GraphConfig& config, StageGraph graph,
                                  const ModuleTensors& modules, bool last_stage) {
  if (!config.plan.offload_activations) return graph;
  return ActivationCopier(config, std::move(graph), modules, last_stage).run();
}

}  // namespace orrery
