#include "sim/study/rates.h"

#include "sim/cost/gemm.h"

namespace orrery {
namespace {

bool assumed(const Sourced& s) { return s.source == Source::kAssumed; }

bool is_attention(int family) { return family >= kAttentionForwardFamily; }

}  // namespace

RateShares rate_shares(const ExecPlan& plan, const PlanTiming& timing, const GraphConfig& graph) {
  RateShares shares{};
  double all = 0;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    const Op& op = plan.graph_op(plan.ops[i]);
    if (op_resource(op.kind) != Resource::kCompute) continue;
    const double s = seconds(timing[i].duration[0]);
    all += s;
    const int family = rate_family(op, graph);
    if (family >= 0) shares[static_cast<std::size_t>(family)] += s;
  }
  if (all > 0)
    for (double& s : shares) s /= all;
  return shares;
}

bool rate_is_assumed(const GpuSpec& gpu, const StackSpec& stack, int family) {
  if (family < kFirstGemmFamily)
    return assumed(gpu.hbm_efficiency[family]) || assumed(gpu.hbm_bandwidth_GBps);
  if (is_attention(family)) {
    const AttentionKernelSpec* kernel =
        family == kAttentionForwardFamily ? attention_forward_kernel(gpu, stack.attention_kernel)
                                          : attention_backward_kernel(gpu, stack.attention_kernel);
    return kernel == nullptr || assumed(kernel->mainloop_efficiency) ||
           assumed(kernel->peak_TFLOPS);
  }
  const GemmKernelSpec& kernel = gemm_of_family(gpu, family);
  return assumed(kernel.mainloop_efficiency) || assumed(kernel.peak_TFLOPS);
}

HeldOutErrors held_out_errors(const GpuSpec& gpu, const StackSpec& stack, int family) {
  // A calibration measures the default attention.
  if (is_attention(family) && !stack.attention_kernel.empty()) return {};
  return gpu.held_out[family];
}

}  // namespace orrery
