#include "sim/exec/sim_timing.h"

#include <algorithm>

#include "sim/cost/attention.h"
#include "sim/cost/gemm.h"
#include "sim/cost/memory_bound.h"
#include "sim/net/port_model.h"

namespace orrery {
namespace {

double d(int64_t x) { return static_cast<double>(x); }

double gemm_op_seconds(const Op& op, const GpuSpec& gpu, const GpuShare& share) {
  GemmShape s;
  s.m = op.shape.m, s.n = op.shape.n, s.k = op.shape.k;
  s.groups = op.shape.groups;
  if (op.kind == OpKind::kGemmFp8) s.kernel = GemmKernel::kFp8;
  if (op.kind == OpKind::kGemmFp8Wgrad)
    s.kernel = GemmKernel::kFp8Wgrad, s.output = GemmOutput::kFp32Accumulate;
  if (op.kind == OpKind::kGemm && op.phase == Phase::kWeight)
    s.output = GemmOutput::kFp32Accumulate;
  return gemm_seconds(gpu, s, share);
}

AttentionShape attention_shape(const Op& op, const ModelSpec& m) {
  return {.batch = op.shape.m,
          .heads = op.shape.k,
          .kv_heads = m.attention == AttentionKind::kGqa ? m.kv_heads : 0,
          .length = op.shape.n,
          .d_qk = op.shape.d_qk,
          .d_v = op.shape.d_v,
          .causal = true};
}

bool is_gemm(OpKind k) {
  return k == OpKind::kGemm || k == OpKind::kGemmFp8 || k == OpKind::kGemmFp8Wgrad;
}

double composite_seconds(const CompositeSpec& c, int64_t tokens) {
  return c.us.value * 1e-6 * d(tokens) / c.reference_tokens.value;
}

class Timer {
 public:
  Timer(const ExecPlan& plan, const TimingInput& in, double row_load)
      : plan_(plan), in_(in), row_load_(row_load) {
    const GpuSpec& gpu = in.cluster.node.gpu;
    all_sms_ = static_cast<int64_t>(gpu.sm_count.value);
    left_sms_ = all_sms_ - static_cast<int64_t>(in.graph.stack.communication_sms.value);
    gap_ = gpu.launch_gap_us.value * 1e-6;
  }

  std::vector<OpTiming> run() {
    std::vector<OpTiming> out(plan_.ops.size());
    for (const RankClass& c : plan_.classes)
      for (const Block& b : c.blocks) {
        pair_ = b.kind == BlockKind::kPair && in_.graph.plan.overlap_expert_parallel;
        for (const Instr& i : b.instrs)
          if (i.kind == Instr::Kind::kLaunch) out[i.arg] = time(c, plan_.ops[i.arg]);
      }
    return out;
  }

 private:
  OpTiming time(const RankClass& c, const PlanOp& p) {
    const Op& op = plan_.graph_op(p);
    OpTiming t{};
    t.resource = op_resource(op.kind);
    // Between two chunks of one rank a tensor changes hands, no kernel runs.
    if (is_p2p(op.comm) && c.communicators[static_cast<std::size_t>(p.communicator)].size == 1) {
      std::fill(std::begin(t.duration), std::end(t.duration), Picos(1));
      return t;
    }
    for (unsigned beside = 0; beside < kBesideStates; ++beside) {
      double s = 0;
      switch (t.resource) {
        case Resource::kCompute:
          s = compute(op, beside) * (op.row_proportional ? row_load_ : 1);
          break;
        case Resource::kAllToAll:
          s = all_to_all(op, beside);
          break;
        case Resource::kNetwork:
          s = network(c, p, op) * (beside != 0 ? 2 : 1);
          break;
      }
      t.duration[beside] = std::max(Picos(1), from_seconds(s + gap_));
    }
    return t;
  }

  double compute(const Op& op, unsigned beside) const {
    // Persistent GEMM kernels of an overlapped pair leave the communication SMs alone throughout.
    const bool fewer = (beside & kBesideOther) != 0 || (pair_ && is_gemm(op.kind));
    const int64_t sms = fewer ? left_sms_ : all_sms_;
    const bool shared = (beside & kBesideSame) != 0;
    return compute_op_seconds(op, in_, shared ? std::max<int64_t>(1, sms / 2) : sms,
                              shared ? 0.5 : 1.0);
  }

  GroupPlacement expert_group() const {
    const int64_t n = in_.graph.plan.expert_parallel;
    return {n, std::min(n, in_.cluster.node.gpus)};
  }

  double all_to_all(const Op& op, unsigned beside) const {
    const StackSpec& s = in_.graph.stack;
    if (op.kind == OpKind::kNotify) return s.all_to_all_barrier_us.value * 1e-6;
    const AllToAllSpec& kernel = op.kind == OpKind::kCombine ? s.combine
                                 : is_forward(op)            ? s.dispatch
                                                             : s.cached_dispatch;
    const ExpertRows rows = expert_rows(in_.graph);
    const double fraction = (beside & kBesideOther) != 0 ? kernel.overlapped_fraction.value
                                                         : kernel.alone_fraction.value;
    const double port = (beside & kBesideSame) != 0 ? 0.5 : 1.0;
    return all_to_all_seconds(in_.cluster, expert_group(), op.work.network,
                              Bytes(rows.arrived * op.shape.n), fraction * port);
  }

  double network(const RankClass& c, const PlanOp& p, const Op& op) const {
    if (op.comm == CommKind::kForwardP2p || op.comm == CommKind::kBackwardP2p)
      return p2p_seconds(in_.cluster, op.work.network);
    const Communicator& comm = c.communicators[static_cast<std::size_t>(p.communicator)];
    GroupPlacement g{comm.size, std::min(comm.size, in_.cluster.node.gpus)};
    // Replicas of an expert shard are expert_parallel ranks apart.
    if (op.comm == CommKind::kExpertData)
      g.per_node = std::max<int64_t>(1, in_.cluster.node.gpus / in_.graph.plan.expert_parallel);
    const double ring =
        ring_seconds(in_.cluster, g, op.work.network, in_.graph.stack.ring_efficiency.value);
    return op.kind == OpKind::kAllReduce ? 2 * ring : ring;
  }

  const ExecPlan& plan_;
  const TimingInput& in_;
  int64_t all_sms_ = 0, left_sms_ = 0;
  double gap_ = 0;
  bool pair_ = false;
  double row_load_ = 1;
};

}  // namespace

double compute_op_seconds(const Op& op, const TimingInput& in, int64_t sms, double hbm_fraction) {
  const GpuSpec& gpu = in.cluster.node.gpu;
  const StackSpec& stack = in.graph.stack;
  const GpuShare share{sms, hbm_fraction};
  const int64_t tokens = in.graph.plan.tokens_per_micro_batch();
  switch (op.kind) {
    case OpKind::kGemm:
    case OpKind::kGemmFp8:
    case OpKind::kGemmFp8Wgrad:
      return gemm_op_seconds(op, gpu, share);
    case OpKind::kAttention:
      return attention_forward_seconds(gpu, attention_shape(op, in.graph.model), share);
    case OpKind::kAttentionBackward: {
      const AttentionShape a = attention_shape(op, in.graph.model);
      return attention_preprocess_seconds(gpu, a, share) +
             attention_backward_seconds(gpu, a, share) +
             attention_postprocess_seconds(gpu, a, share);
    }
    case OpKind::kRouter:
      return composite_seconds(stack.router_forward, tokens);
    case OpKind::kRouterBackward:
      return composite_seconds(stack.router_backward, tokens);
    case OpKind::kExpertLayout:
      return composite_seconds(stack.expert_layout, tokens);
    case OpKind::kDispatchLayout:
      return composite_seconds(stack.dispatch_layout, tokens);
    default:
      return memory_bound_seconds(gpu, op.work.pattern, op.work.hbm, share);
  }
}

std::vector<OpTiming> time_ops(const ExecPlan& plan, const TimingInput& in, double row_load) {
  return Timer(plan, in, row_load).run();
}

}  // namespace orrery
