#include "sim/exec/sim_host_costs.h"

#include "sim/graph/op.h"

namespace orrery {
namespace {

bool is_product(OpKind k) {
  return k == OpKind::kGemm || k == OpKind::kGemmFp8 || k == OpKind::kGemmFp8Wgrad;
}

bool is_norm(OpKind k) {
  return k == OpKind::kRmsNorm || k == OpKind::kLayerNorm || k == OpKind::kRmsNormBackward ||
         k == OpKind::kLayerNormBackward;
}

bool is_activation(OpKind k) {
  return (k >= OpKind::kSwiGlu && k <= OpKind::kSwiGluBackward) ||
         (k >= OpKind::kActivation && k <= OpKind::kActivationBackward);
}

bool is_cast(OpKind k) {
  return k == OpKind::kCast || k == OpKind::kCastBoth || k == OpKind::kCastBack ||
         k == OpKind::kCastE5M6 || k == OpKind::kCastBackE5M6;
}

// Part of another operator's call.
bool is_bare_kernel(OpKind k) {
  return k == OpKind::kAmax || k == OpKind::kTransposeFp8 || k == OpKind::kTransposeScales ||
         k == OpKind::kRmsNormReduce || k == OpKind::kLayerNormReduce ||
         k == OpKind::kSwiGluWeightBackward || k == OpKind::kNotify;
}

// Of a layer or head, where autograd runs; else of the data-parallel wrapper, the pipeline or the
// optimizer.
bool in_layer(SegmentKind s) {
  return s <= SegmentKind::kHeadW || (s >= SegmentKind::kAttnR && s <= SegmentKind::kCombineR);
}

bool is_attention_part(SegmentKind s) {
  return s == SegmentKind::kAttnF || s == SegmentKind::kAttnB || s == SegmentKind::kNormB ||
         s == SegmentKind::kAttnW || s == SegmentKind::kAttnR;
}

bool is_mlp_part(SegmentKind s) {
  return s == SegmentKind::kMlpF || s == SegmentKind::kMlpB || s == SegmentKind::kMlpW ||
         s == SegmentKind::kMlpR;
}

class OpHost {
 public:
  OpHost(const StageGraph& stage, const GraphConfig& graph, const NodeSpec& node)
      : stage_(stage), graph_(graph), spec_(*graph.stack.host), node_(node) {}

  HostCost cost(uint32_t i) const {
    const Op& op = stage_.ops[i];
    HostCost c;
    if (op.in_epilogue || spec_.graphs == HostGraphs::kIteration) return c;
    const double us = in_graph(i) ? (starts_graph(i) ? graph_us(op) : 0) : micros(op);
    c.issue = from_micros(us * node_.host_slowdown.value);
    if (op.kind == OpKind::kNotify && counts_tokens(op))
      c.read_back = from_micros(spec_.counts_wait_us.value * node_.host_slowdown.value);
    return c;
  }

 private:
  const HostOperators& operators(const Op& op) const {
    return is_forward(op) ? spec_.forward_us : spec_.backward_us;
  }

  double graph_us(const Op& op) const { return spec_.scale.value * operators(op).product.value; }

  double micros(const Op& op) const {
    const double kernel = spec_.kernel_us.value;
    if (!in_layer(op.segment)) return kernel;
    if (in_fused_projection(op) || op.kind == OpKind::kCastTranspose) return 0;
    const HostOperators& o = operators(op);
    const double scale = spec_.scale.value, extra = extra_kernels(op) * kernel;
    const double of_experts = op.row_proportional ? d(local_experts()) : 0;
    if (is_product(op.kind)) {
      const double part = is_forward(op) ? 1 : 0.5;
      return scale * part * o.product.value + of_experts * spec_.expert_us.value +
             (op.bias.valid() ? biases(op, o) : 0);
    }
    if (op.kind == OpKind::kBiasBackward) return biases(op, o);
    if (is_cast(op.kind)) return op.row_proportional ? of_experts * spec_.expert_us.value : kernel;
    if (op.kind == OpKind::kAmax && op.row_proportional) return of_experts * kernel;
    if (is_bare_kernel(op.kind)) return kernel;
    if (op.kind == OpKind::kAttention || op.kind == OpKind::kAttentionBackward)
      return scale * o.product.value + extra;
    if (is_norm(op.kind)) return scale * o.norm.value + extra;
    if (is_activation(op.kind)) return scale * o.activation.value + extra;
    // Gradients of one tensor are added without a node.
    if (op.kind == OpKind::kAdd) return scale * spec_.forward_us.elementwise.value;
    return scale * o.elementwise.value + extra;
  }

  // The graph of a model with experts has q, k and v apart where the stack's linear has them in
  // one.
  bool in_fused_projection(const Op& op) const {
    return !graph_.stack.separate_projections &&
           (op.name.starts_with("k_proj") || op.name.starts_with("v_proj"));
  }

  int64_t local_experts() const {
    return std::max<int64_t>(1, graph_.model.experts / graph_.plan.expert_parallel);
  }
  double biases(const Op& op, const HostOperators& o) const {
    return op.row_proportional ? 2 * d(local_experts()) * spec_.scale.value * o.elementwise.value
                               : 0;
  }

  double extra_kernels(const Op& op) const {
    const StackSpec& s = graph_.stack;
    switch (op.kind) {
      case OpKind::kRouter:
        return s.router_forward.kernels.value - 1;
      case OpKind::kRouterBackward:
        return s.router_backward.kernels.value - 1;
      case OpKind::kExpertLayout:
        return s.expert_layout.kernels.value - 1;
      case OpKind::kDispatchLayout:
        return s.dispatch_layout.kernels.value - 1;
      default:
        break;
    }
    for (const UnfusedOp& u : s.unfused_ops)
      if (u.kind == op_kind_name(op.kind)) return u.kernels.value - 1;
    return 0;
  }

  // The first barrier of a layer's forward carries the counts.
  bool counts_tokens(const Op& op) const {
    return spec_.counts_wait_us.value > 0 &&
           (op.segment == SegmentKind::kDispatchF || op.segment == SegmentKind::kDispatchR);
  }

  bool in_graph(uint32_t i) const {
    if (spec_.graphs == HostGraphs::kNone) return false;
    const Op& op = stage_.ops[i];
    if (op_resource(op.kind) != Resource::kCompute) return false;
    if (is_mlp_part(op.segment))
      return spec_.graphs_router() && !op.row_proportional && of_experts(op) &&
             op.kind != OpKind::kExpertLayout;
    if (!is_attention_part(op.segment)) return false;
    return of_router(i) ? spec_.graphs_router() : spec_.graphs_attention();
  }

  // The unit has experts.
  bool of_experts(const Op& op) const {
    return stage_.find(SegmentKind::kDispatchF, op.unit) != nullptr;
  }

  // In the segments of the attention: from the norm before the router on, backward up to that norm.
  bool of_router(uint32_t i) const {
    const Op& op = stage_.ops[i];
    if (!of_experts(op)) return false;
    const auto same = [&](uint32_t j) {
      return stage_.ops[j].segment == op.segment && stage_.ops[j].unit == op.unit;
    };
    if (is_forward(op)) {
      bool router = false;
      for (uint32_t j = i; j < stage_.ops.size() && same(j); ++j) {
        const OpKind k = stage_.ops[j].kind;
        if (j > i && !router && is_norm(k)) return false;
        router = router || k == OpKind::kRouter;
      }
      if (router) return true;
      for (uint32_t j = i; j-- > 0 && same(j);)
        if (stage_.ops[j].kind == OpKind::kRouter) return true;
      return false;
    }
    for (uint32_t j = i; j-- > 0 && same(j);)
      if (is_norm(stage_.ops[j].kind) && !stage_.ops[j].again) return false;
    for (uint32_t j = i; j < stage_.ops.size() && same(j); ++j)
      if (stage_.ops[j].kind == OpKind::kRouterBackward) return true;
    for (uint32_t j = i; j-- > 0 && same(j);)
      if (stage_.ops[j].kind == OpKind::kRouterBackward) return true;
    return false;
  }

  bool starts_graph(uint32_t i) const {
    const Op& op = stage_.ops[i];
    if (!is_attention_part(op.segment)) return false;  // a shared expert's: in the router's graph
    for (uint32_t j = i; j-- > 0;) {
      const Op& before = stage_.ops[j];
      if (before.segment != op.segment || before.unit != op.unit) break;
      if (in_graph(j)) return false;
    }
    return true;
  }

  static double d(int64_t x) { return static_cast<double>(x); }

  const StageGraph& stage_;
  const GraphConfig& graph_;
  const HostSpec& spec_;
  const NodeSpec& node_;
};

}  // namespace

HostCost host_cost(const StageGraph& stage, uint32_t op, const GraphConfig& graph,
                   const NodeSpec& node) {
  return OpHost(stage, graph, node).cost(op);
}

}  // namespace orrery
