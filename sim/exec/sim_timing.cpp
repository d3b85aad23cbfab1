#include "sim/exec/sim_timing.h"

#include <algorithm>
#include <cmath>

#include "sim/base/casts.h"
#include "sim/cost/attention.h"
#include "sim/cost/gemm.h"
#include "sim/cost/memory_bound.h"
#include "sim/cost/unfused_attention.h"
#include "sim/exec/l2_reuse.h"
#include "sim/exec/sim_comm.h"
#include "sim/exec/sim_energy.h"
#include "sim/exec/sim_host_costs.h"
#include "sim/graph/optimizer.h"
#include "sim/graph/work.h"

namespace orrery {
namespace {

constexpr int64_t kScaleTile = 32;

GemmKernel cast_kernel(Precision p, bool weight_gradient) {
  switch (p) {
    case Precision::kFp8Delayed:
    case Precision::kFp8Current:
    case Precision::kFp8Rowwise:
      return GemmKernel::kFp8Tensor;
    case Precision::kMxfp8:
      return GemmKernel::kMxfp8;
    case Precision::kNvfp4:
      return GemmKernel::kNvfp4;
    default:
      return weight_gradient ? GemmKernel::kFp8Wgrad : GemmKernel::kFp8;
  }
}

// A product of one micro-batch into the gradients that the rank holds.
double weight_gradient_seconds(GemmShape s, const TimingInput& in, const GpuShare& share) {
  const GpuSpec& gpu = in.cluster.node.gpu;
  const bool half = held_gradient_bytes(in.graph.plan) == 2;
  if (!in.graph.stack.separate_gradient_add) {
    s.output = half ? GemmOutput::kBf16Accumulate : GemmOutput::kFp32Accumulate;
    return gemm_seconds(gpu, s, share);
  }
  const Bytes moved(s.m * s.n * s.groups * (2 + 2 * held_gradient_bytes(in.graph.plan)));
  return gemm_seconds(gpu, s, share) + gpu.launch_gap_us.value * 1e-6 +
         memory_bound_seconds(gpu, AccessPattern::kStream, moved, share);
}

GemmKernel gemm_kernel(const Op& op, Precision precision) {
  if (op.kind == OpKind::kGemmFp8) return cast_kernel(precision, false);
  if (op.kind == OpKind::kGemmFp8Wgrad) return cast_kernel(precision, true);
  const bool grouped = op.kind == OpKind::kGemm && op.shape.groups > 1;
  return grouped ? GemmKernel::kBf16Grouped : GemmKernel::kBf16;
}

// Of the rows of an expert over their mean: chance, as if every row chose its expert by itself,
// and what the stack's router leaves uneven.
double expert_rows_spread(double mean, double load_cv) {
  return mean > 0 ? std::sqrt(1 / mean + load_cv * load_cv) : 0;
}

GemmShape gemm_shape(const Op& op, const TimingInput& in) {
  GemmShape s;
  s.m = op.shape.m, s.n = op.shape.n, s.k = op.shape.k;
  s.groups = op.shape.groups;
  s.kernel = gemm_kernel(op, in.graph.plan.precision);
  if (op.phase == Phase::kWeight) s.grouped = GroupedDim::kK;
  if (op.row_proportional && s.groups > 1)
    s.size_spread = expert_rows_spread(d(s.grouped == GroupedDim::kK ? s.k : s.m) / d(s.groups),
                                       in.graph.stack.expert_load_cv.value);
  return s;
}

double gemm_op_seconds(const Op& op, const TimingInput& in, const GpuShare& share) {
  GemmShape s = gemm_shape(op, in);
  // A gradient of one micro-batch (op.grad) is written in BF16.
  if (op.writes_gradient) {
    s.output = GemmOutput::kFp32;
    return gemm_seconds(in.cluster.node.gpu, s, share);
  }
  if ((op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8Wgrad) &&
      op.phase == Phase::kWeight && !op.grad.valid())
    return weight_gradient_seconds(s, in, share);
  return gemm_seconds(in.cluster.node.gpu, s, share);
}

AttentionShape attention_shape(const Op& op, const ModelSpec& m) {
  // After the first, causal step of a ring each covers all of half as many keys (or queries): two
  // squares of half the length.
  if (op.shape.index > 1)
    return {.batch = 2 * op.shape.m,
            .heads = op.shape.k,
            .kv_heads = m.attention == AttentionKind::kGqa ? op.shape.groups : 0,
            .length = op.shape.n / 2,
            .d_qk = op.shape.d_qk,
            .d_v = op.shape.d_v,
            .causal = false};
  return {.batch = op.shape.m,
          .heads = op.shape.k,
          .kv_heads = m.attention == AttentionKind::kGqa ? op.shape.groups : 0,
          .length = op.shape.n,
          .d_qk = op.shape.d_qk,
          .d_v = op.shape.d_v,
          .causal = true,
          .window = op.shape.window};
}

double attention_op_seconds(const Op& op, const TimingInput& in, const GpuShare& share) {
  const GpuSpec& gpu = in.cluster.node.gpu;
  const std::string kernel = in.graph.stack.attention_kernel_name(in.graph.plan.fp8_attention);
  const AttentionShape a = attention_shape(op, in.graph.model);
  const bool forward = op.kind == OpKind::kAttention;
  const bool dropout = in.graph.model.attention_dropout > 0;
  if (in.graph.stack.unfused_attention())
    return forward ? unfused_attention_forward_seconds(gpu, a, dropout, share)
                   : unfused_attention_backward_seconds(gpu, a, dropout, share);
  if (forward)
    return attention_forward_seconds(gpu, *attention_forward_kernel(gpu, kernel), a, share);
  return attention_preprocess_seconds(gpu, a, share) +
         attention_backward_seconds(gpu, *attention_backward_kernel(gpu, kernel), a, share) +
         attention_postprocess_seconds(gpu, a, share);
}

bool is_gemm(OpKind k) {
  return k == OpKind::kGemm || k == OpKind::kGemmFp8 || k == OpKind::kGemmFp8Wgrad ||
         k == OpKind::kNewtonSchulz;
}

bool is_attention(OpKind k) { return k == OpKind::kAttention || k == OpKind::kAttentionBackward; }

bool is_matrix(OpKind k) { return is_gemm(k) || is_attention(k); }

// TokenDispatch::kPerExpert: permute and unpermute sort the rows of other ranks' tokens by expert
// and back; one more kernel of each kind, on the other side of the all-to-all, copies a rank's own
// tokens for each of their experts, or sums what comes back. Bytes of a row and its share of the
// token's.
double expanding_seconds(const Op& op, const TimingInput& in, const GpuShare& share) {
  const GraphConfig& g = in.graph;
  if (g.stack.token_dispatch != TokenDispatch::kPerExpert || g.plan.expert_parallel == 1 ||
      (op.kind != OpKind::kPermute && op.kind != OpKind::kUnpermute))
    return 0;
  const double bytes = 2 * d(op_elements(op)) * (1 + 1 / d(g.model.experts_per_token));
  const GpuSpec& gpu = in.cluster.node.gpu;
  return gpu.launch_gap_us.value * 1e-6 +
         memory_bound_seconds(gpu, op.work.pattern, Bytes(std::llround(bytes)), share);
}

// Time of the kernels into which the stack breaks an op, beyond that of the op as one kernel.
double unfused_seconds(const Op& op, const TimingInput& in, const GpuShare& share) {
  for (const UnfusedOp& u : in.graph.stack.unfused_ops) {
    if (u.kind != op_kind_name(op.kind)) continue;
    const GpuSpec& gpu = in.cluster.node.gpu;
    const double bytes = u.bytes_per_element.value * d(op_elements(op));
    const double kernel = (gpu.kernel_fixed_us.value + gpu.launch_gap_us.value) * 1e-6;
    const double efficiency =
        gpu.hbm_efficiency[static_cast<std::size_t>(AccessPattern::kStream)].value;
    return (u.kernels.value - 1) * kernel +
           hbm_seconds(gpu, Bytes(std::llround(bytes)), efficiency, share);
  }
  return 0;
}

// What kernel_rates calls the op. A cast from BF16 moves 3 bytes an element, one from FP8 2.
std::string_view rate_name(const Op& op) {
  if (op.kind == OpKind::kCastTranspose && 2 * op.work.hbm.count() < 5 * op_elements(op))
    return kCastTransposeOfFp8;
  return op_kind_name(op.kind);
}

// nullptr: the GPU's constants hold.
const KernelRate* kernel_rate(const Op& op, const StackSpec& stack) {
  const std::string_view name = rate_name(op);
  for (const KernelRate& r : stack.kernel_rates)
    if (r.kind == name) return &r;
  return nullptr;
}

// What the rate of a kernel is of. Scales are transposed in tiles of 32 by 32, each a block whose
// threads take their turn whether or not they move anything (kernels/quant/transpose.cu); w.hbm
// counts what they move.
Bytes rated_bytes(const Op& op) {
  if (op.kind != OpKind::kTransposeScales) return op.work.hbm;
  return Bytes(8 * kScaleTile * ceil_div(op.shape.m, kScaleTile) * op.shape.n);
}

double memory_bound_op_seconds(const Op& op, const TimingInput& in, const GpuShare& share) {
  const GpuSpec& gpu = in.cluster.node.gpu;
  const KernelRate* r = kernel_rate(op, in.graph.stack);
  // The kernel's rate was measured on parts of heads; on whole ones it streams.
  if (r != nullptr && op.work.contiguous)
    return memory_bound_seconds(gpu, AccessPattern::kStream, op.work.hbm, share);
  if (r != nullptr)
    return fixed_seconds(r->fixed_us.value, share) +
           memory_seconds(gpu, rated_bytes(op), r->hbm_efficiency.value, share);
  return memory_bound_seconds(gpu, op.work.pattern, op.work.hbm, share);
}

double composite_seconds(const CompositeSpec& c, int64_t tokens) {
  return c.us.value * 1e-6 * d(tokens) / c.reference_tokens.value;
}

double fused_op_seconds(const Op& op, const TimingInput& in, const GpuShare& share) {
  const StackSpec& stack = in.graph.stack;
  const int64_t tokens = in.graph.plan.rows_per_rank();
  switch (op.kind) {
    case OpKind::kGemm:
    case OpKind::kGemmFp8:
    case OpKind::kGemmFp8Wgrad:
    case OpKind::kNewtonSchulz:
      return gemm_op_seconds(op, in, share);
    case OpKind::kAttention:
    case OpKind::kAttentionBackward:
      return attention_op_seconds(op, in, share);
    case OpKind::kRouter:
      return composite_seconds(stack.router_forward, tokens);
    case OpKind::kRouterBackward:
      if (kernel_rate(op, stack) != nullptr) return memory_bound_op_seconds(op, in, share);
      return composite_seconds(stack.router_backward, tokens);
    case OpKind::kExpertLayout:
      return composite_seconds(stack.expert_layout, tokens);
    case OpKind::kDispatchLayout:
      return composite_seconds(stack.dispatch_layout, tokens);
    default:
      return memory_bound_op_seconds(op, in, share);
  }
}

class Timer {
 public:
  Timer(const ExecPlan& plan, const TimingInput& in, double row_load)
      : plan_(plan), in_(in), comm_(plan, in), row_load_(row_load) {
    const GpuSpec& gpu = in.cluster.node.gpu;
    all_sms_ = static_cast<int64_t>(gpu.sm_count.value);
    left_sms_ = all_sms_ - static_cast<int64_t>(in.graph.stack.communication_sms.value);
    collective_sms_ = static_cast<int64_t>(
        in.graph.stack.collectives.channels[static_cast<std::size_t>(gpu.architecture)]);
    const double p2p_channels =
        in.graph.stack.collectives.p2p_channels[static_cast<std::size_t>(gpu.architecture)];
    p2p_sms_ = in.graph.stack.posts_receives_early && in.graph.plan.pipeline_parallel > 1
                   ? static_cast<int64_t>(p2p_channels / 2)
                   : 0;
    gap_ = gpu.launch_gap_us.value * 1e-6 * d(in.cluster.node.ranks_per_gpu);
  }

  PlanTiming run() {
    out_.resize(plan_.ops.size());
    const std::size_t ops = graph_ops();
    alone_.assign(ops, kUnknown), paired_.assign(ops, kUnknown);
    if (in_.cluster.node.gpu.power.pJ_per_byte.value > 0) in_.clock = step_clock(ops);
    for (const RankClass& c : plan_.classes)
      for (const Block& b : c.blocks) {
        pair_ = b.kind == BlockKind::kPair && in_.graph.plan.overlap_expert_parallel;
        for (const Instr& i : b.instrs)
          if (i.kind == Instr::Kind::kLaunch) out_.set(i.arg, known_time(c, plan_.ops[i.arg]));
      }
    return std::move(out_);
  }

 private:
  // Stages whose ops take the same times share them.
  std::size_t graph_ops() {
    std::size_t n = 0;
    for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
      const std::vector<Op>& ops = plan_.stages[s].ops;
      std::size_t like = 0;
      while (like < s && !std::equal(ops.begin(), ops.end(), plan_.stages[like].ops.begin(),
                                     plan_.stages[like].ops.end(), lasts_alike))
        ++like;
      first_op_.push_back(like < s ? first_op_[like] : n);
      if (like < s) continue;
      n += ops.size();
      const std::vector<double> parts = reads_in_l2(plan_.stages[s], l2_capacity());
      in_l2_.insert(in_l2_.end(), parts.begin(), parts.end());
    }
    return n;
  }

  Bytes l2_capacity() const {
    return Bytes(std::llround(in_.cluster.node.gpu.l2_capacity_MiB.value * 1024 * 1024));
  }

  static bool lasts_alike(const Op& a, const Op& b) {
    const OpShape &x = a.shape, &y = b.shape;
    return a.kind == b.kind && a.phase == b.phase && a.row_proportional == b.row_proportional &&
           a.segment == b.segment && a.again == b.again && a.bias.valid() == b.bias.valid() &&
           a.in_epilogue == b.in_epilogue && a.comm == b.comm && a.grad.valid() == b.grad.valid() &&
           x.m == y.m && x.n == y.n && x.k == y.k && x.groups == y.groups && x.d_qk == y.d_qk &&
           x.d_v == y.d_v && x.index == y.index && x.window == y.window &&
           a.work.hbm == b.work.hbm && a.work.pattern == b.work.pattern &&
           a.work.contiguous == b.work.contiguous;
  }

  // The one clock of the kernels of all passes over all layers. The optimizer's are left out: they
  // run by themselves, longer than the limit is averaged over.
  double step_clock(std::size_t graph_ops) const {
    std::vector<int64_t> launches(graph_ops, 0);
    std::vector<const Op*> op(graph_ops, nullptr);
    for (const RankClass& c : plan_.classes)
      for (const Block& b : c.blocks) {
        if (b.kind == BlockKind::kOptimizer) continue;
        for (const Instr& i : b.instrs) {
          if (i.kind != Instr::Kind::kLaunch) continue;
          const PlanOp& p = plan_.ops[i.arg];
          const std::size_t at = first_op_[p.stage] + p.graph_op;
          ++launches[at], op[at] = &plan_.graph_op(p);
        }
      }
    KernelEnergy sum;
    for (std::size_t i = 0; i < graph_ops; ++i) {
      if (launches[i] == 0 || op_resource(op[i]->kind) != Resource::kCompute) continue;
      if (op[i]->in_epilogue) continue;
      sum.add(op_energy(*op[i], in_), d(launches[i]));
    }
    return clock_fraction(in_.cluster.node.gpu.power, sum);
  }

  // A graph op takes the same time wherever it appears, but for network ops, which depend on their
  // communicator, and for pairs.
  uint32_t known_time(const RankClass& c, const PlanOp& p) {
    if (op_resource(plan_.graph_op(p).kind) == Resource::kNetwork)
      return out_.number_of(time(c, p));
    uint32_t& known = (pair_ ? paired_ : alone_)[first_op_[p.stage] + p.graph_op];
    if (known == kUnknown) known = out_.number_of(time(c, p));
    return known;
  }

  OpTiming time(const RankClass& c, const PlanOp& p) {
    OpTiming t = device_time(c, p);
    if (!in_.graph.stack.host || hands_over(c, p)) return t;
    const HostCost host = host_cost(plan_.stages[p.stage], p.graph_op, in_.graph, in_.cluster.node);
    t.host = host.issue;
    t.read_back = host.read_back;
    return t;
  }

  // Between two chunks of one rank a tensor changes hands, no kernel runs.
  bool hands_over(const RankClass& c, const PlanOp& p) const {
    return is_p2p(plan_.graph_op(p).comm) &&
           c.communicators[static_cast<std::size_t>(p.communicator)].size == 1;
  }

  OpTiming device_time(const RankClass& c, const PlanOp& p) {
    const Op& op = plan_.graph_op(p);
    OpTiming t{};
    t.resource = t.demand.resource = op_resource(op.kind);
    if (hands_over(c, p)) {
      std::fill(std::begin(t.duration), std::end(t.duration), Picos(1));
      return t;
    }
    if (t.resource == Resource::kHostLink) {
      std::fill(std::begin(t.duration), std::end(t.duration), picos(host_seconds(op)));
      return t;
    }
    if (t.resource != Resource::kCompute) {
      const CommCost cost = comm_.cost(c, p);
      t.demand = cost.demand;
      t.demand.resource = t.resource;
      std::fill(std::begin(t.duration), std::end(t.duration), picos(cost.seconds));
      return t;
    }
    if (op.in_epilogue) {
      std::fill(std::begin(t.duration), std::end(t.duration), Picos(1));
      return t;
    }
    const double in_l2 = in_l2_[first_op_[p.stage] + p.graph_op];
    for (unsigned beside = 0; beside < kBesideStates; ++beside)
      t.duration[beside] =
          (beside & kBesideP2p) != 0 && p2p_sms_ == 0
              ? t.duration[beside & ~kBesideP2p]
              : picos(compute(op, beside, in_l2) * (op.row_proportional ? row_load_ : 1));
    if (in_.graph.stack.communication_waits_for_sms) t.held = held(op, t.duration[0]);
    return t;
  }

  // See OpTiming::held.
  Picos held(const Op& op, Picos alone) const {
    const auto part = [&](double rounds) {
      return Picos(std::llround(static_cast<double>(alone.count()) / std::max(1.0, rounds)));
    };
    if (is_attention(op.kind)) return part(attention_rounds(op));
    if (!is_gemm(op.kind)) return {};
    const GpuSpec& gpu = in_.cluster.node.gpu;
    const GemmShape s = gemm_shape(op, in_);
    const GemmTiling t = gemm_tiling(gpu, s, all_sms_);
    if (t.tiles + collective_sms_ <= all_sms_) return {};
    return gemm_kernel_spec(gpu, s.kernel).fixed_grid ? alone : part(d(t.waves));
  }

  double attention_rounds(const Op& op) const {
    const AttentionShape a = attention_shape(op, in_.graph.model);
    return d(a.batch * a.heads * ceil_div(a.length, 128)) / d(all_sms_);
  }

  double host_seconds(const Op& op) const {
    return transfer_seconds(op.work.host, in_.cluster.node.host_copy_per_rank());
  }

  Picos picos(double seconds) const { return std::max(Picos(1), from_seconds(seconds + gap_)); }

  double compute(const Op& op, unsigned beside, double in_l2) const {
    // Persistent GEMM kernels of an overlapped pair leave the communication SMs alone throughout.
    const bool fewer = (beside & kBesideOther) != 0 || (pair_ && is_gemm(op.kind));
    int64_t sms = fewer ? left_sms_ : all_sms_;
    const int64_t launched_for = pair_ ? 0 : sms;
    if ((beside & kBesideCollective) != 0) sms -= collective_sms_;
    if ((beside & kBesideP2p) != 0) sms -= p2p_sms_;
    sms = std::max<int64_t>(1, sms);
    if ((beside & kBesideSame) != 0)
      return compute_op_seconds(op, in_, {std::max<int64_t>(1, sms / 2), 0.5, 0, 0, in_l2});
    return compute_op_seconds(op, in_, {sms, 1, 0, launched_for, in_l2});
  }

  const ExecPlan& plan_;
  TimingInput in_;
  CommCosts comm_;
  int64_t all_sms_ = 0, left_sms_ = 0, collective_sms_ = 0, p2p_sms_ = 0;
  double gap_ = 0;
  bool pair_ = false;
  double row_load_ = 1;
  static constexpr uint32_t kUnknown = UINT32_MAX;
  std::vector<std::size_t> first_op_;     // of each stage, among all that differ
  std::vector<double> in_l2_;             // by graph op: GpuShare::in_l2
  std::vector<uint32_t> alone_, paired_;  // by graph op: number of its timing outside, inside pairs
  PlanTiming out_;
};

}  // namespace

int rate_family(const Op& op, const GraphConfig& graph) {
  const auto gemm = [](GemmKernel k) { return kFirstGemmFamily + static_cast<int>(k); };
  if (op_resource(op.kind) != Resource::kCompute) return -1;
  switch (op.kind) {
    case OpKind::kGemm:
    case OpKind::kGemmFp8:
    case OpKind::kGemmFp8Wgrad:
    case OpKind::kNewtonSchulz:
      return gemm(gemm_kernel(op, graph.plan.precision));
    case OpKind::kAttention:
    case OpKind::kAttentionBackward:
      if (graph.stack.unfused_attention()) return gemm(GemmKernel::kBf16);
      return op.kind == OpKind::kAttention ? kAttentionForwardFamily : kAttentionBackwardFamily;
    case OpKind::kRouter:
    case OpKind::kRouterBackward:
    case OpKind::kExpertLayout:
    case OpKind::kDispatchLayout:
      return -1;
    default:
      return kernel_rate(op, graph.stack) != nullptr ? -1 : static_cast<int>(op.work.pattern);
  }
}

double compute_op_seconds(const Op& op, const TimingInput& in, GpuShare share) {
  share.clock = in.clock;
  const StepSpeed& speed = in.graph.stack.step_speed;
  return static_cast<double>(in.cluster.node.ranks_per_gpu) *
         (fused_op_seconds(op, in, share) /
              (is_matrix(op.kind) ? speed.matrix : speed.memory_bound).value +
          (unfused_seconds(op, in, share) + expanding_seconds(op, in, share)) /
              speed.memory_bound.value);
}

PlanTiming time_ops(const ExecPlan& plan, const TimingInput& in, double row_load) {
  return Timer(plan, in, row_load).run();
}

}  // namespace orrery
