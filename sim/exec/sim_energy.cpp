#include "sim/exec/sim_energy.h"

#include "sim/base/casts.h"
#include "sim/cost/gemm.h"

namespace orrery {
namespace {

double pJ_per_FLOP(const GpuSpec& gpu, const std::string& attention_kernel, int family) {
  if (family == kAttentionForwardFamily)
    return attention_forward_kernel(gpu, attention_kernel)->pJ_per_FLOP.value;
  if (family == kAttentionBackwardFamily)
    return attention_backward_kernel(gpu, attention_kernel)->pJ_per_FLOP.value;
  if (family >= kFirstGemmFamily) return gemm_of_family(gpu, family).pJ_per_FLOP.value;
  return 0;
}

}  // namespace

KernelEnergy op_energy(const Op& op, TimingInput in) {
  const NodeSpec& node = in.cluster.node;
  const auto sms = static_cast<int64_t>(node.gpu.sm_count.value);
  const auto at = [&](double clock) {
    in.clock = clock;
    return compute_op_seconds(op, in, {sms}) / d(node.ranks_per_gpu);
  };
  // Twice as long at half the clock is what the clock drives.
  const double full = at(1), clocked = at(0.5) - full;
  const double pJ =
      pJ_per_FLOP(node.gpu, in.graph.stack.attention_kernel_name(in.graph.plan.fp8_attention),
                  rate_family(op, in.graph));
  return {.switching_J = 1e-12 * pJ * op.work.flops.count(),
          .hbm_J = 1e-12 * node.gpu.power.pJ_per_byte.value * d(op.work.hbm.count()),
          .clocked_s = clocked,
          .steady_s = full - clocked + node.gpu.launch_gap_us.value * 1e-6};
}

}  // namespace orrery
