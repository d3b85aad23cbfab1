#include "sim/graph/op.h"

#include <array>

namespace orrery {
namespace {

struct KindInfo {
  std::string_view name;
  Resource resource;
  KernelClass cls;
};

using R = Resource;
using C = KernelClass;
constexpr std::array<KindInfo, kOpKinds> kKinds = {{
    {"gemm_bf16", R::kCompute, C::kGemmBf16},
    {"gemm_fp8", R::kCompute, C::kGemmDense},
    {"gemm_fp8_wgrad", R::kCompute, C::kGemmWgrad},
    {"attention", R::kCompute, C::kAttentionForward},
    {"attention_backward", R::kCompute, C::kAttentionBackward},
    {"load_tokens", R::kCompute, C::kElementwise},
    {"embedding", R::kCompute, C::kElementwise},
    {"embedding_backward", R::kCompute, C::kElementwise},
    {"add_positions", R::kCompute, C::kElementwise},
    {"positions_backward", R::kCompute, C::kElementwise},
    {"rms_norm", R::kCompute, C::kNorm},
    {"rms_norm_backward", R::kCompute, C::kNorm},
    {"rms_norm_reduce", R::kCompute, C::kNorm},
    {"layer_norm", R::kCompute, C::kNorm},
    {"layer_norm_backward", R::kCompute, C::kNorm},
    {"layer_norm_reduce", R::kCompute, C::kNorm},
    {"cast_fp8", R::kCompute, C::kQuantCast},
    {"cast_transpose_fp8", R::kCompute, C::kQuantCast},
    {"cast_both", R::kCompute, C::kQuantCast},
    {"amax", R::kCompute, C::kQuantCast},
    {"cast_back", R::kCompute, C::kQuantCast},
    {"cast_e5m6", R::kCompute, C::kQuantCast},
    {"cast_back_e5m6", R::kCompute, C::kQuantCast},
    {"transpose_fp8", R::kCompute, C::kTranspose},
    {"transpose_scales", R::kCompute, C::kTranspose},
    {"rope", R::kCompute, C::kRopeCopy},
    {"rope_backward", R::kCompute, C::kRopeCopy},
    {"concat_heads", R::kCompute, C::kRopeCopy},
    {"copy", R::kCompute, C::kElementwise},
    {"reduce_heads", R::kCompute, C::kElementwise},
    {"repeat_heads", R::kCompute, C::kElementwise},
    {"sum_heads", R::kCompute, C::kElementwise},
    {"swiglu", R::kCompute, C::kSwiGlu},
    {"swiglu_cast", R::kCompute, C::kQuantCast},
    {"swiglu_cast_transpose", R::kCompute, C::kQuantCast},
    {"swiglu_backward", R::kCompute, C::kSwiGlu},
    {"swiglu_weight_backward", R::kCompute, C::kSwiGlu},
    {"activation", R::kCompute, C::kElementwise},
    {"activation_cast", R::kCompute, C::kQuantCast},
    {"activation_cast_transpose", R::kCompute, C::kQuantCast},
    {"activation_backward", R::kCompute, C::kElementwise},
    {"bias_backward", R::kCompute, C::kElementwise},
    {"gate", R::kCompute, C::kElementwise},
    {"gate_backward", R::kCompute, C::kElementwise},
    {"dropout", R::kCompute, C::kElementwise},
    {"dropout_backward", R::kCompute, C::kElementwise},
    {"scale", R::kCompute, C::kElementwise},
    {"add", R::kCompute, C::kElementwise},
    {"permute", R::kCompute, C::kMoePermute},
    {"unpermute", R::kCompute, C::kMoePermute},
    {"cross_entropy", R::kCompute, C::kElementwise},
    {"cross_entropy_part", R::kCompute, C::kElementwise},
    {"cross_entropy_merge", R::kCompute, C::kElementwise},
    {"attention_merge", R::kCompute, C::kElementwise},
    {"router", R::kCompute, C::kElementwise},
    {"router_backward", R::kCompute, C::kElementwise},
    {"expert_layout", R::kCompute, C::kMoePermute},
    {"dispatch_layout", R::kCompute, C::kCommLayout},
    {"grad_norm", R::kCompute, C::kOptimizer},
    {"adamw", R::kCompute, C::kOptimizer},
    {"muon_momentum", R::kCompute, C::kOptimizer},
    {"muon_normalise", R::kCompute, C::kOptimizer},
    {"newton_schulz", R::kCompute, C::kGemmBf16},
    {"muon_update", R::kCompute, C::kOptimizer},
    {"unscale", R::kCompute, C::kOptimizer},
    {"unshard", R::kCompute, C::kQuantCast},
    {"cast_weights", R::kCompute, C::kOptimizer},
    {"router_bias", R::kCompute, C::kOptimizer},
    {"zero_grad", R::kCompute, C::kOptimizer},
    {"load_states", R::kHostLink, C::kHostCopy},
    {"store_states", R::kHostLink, C::kHostCopy},
    {"store_activations", R::kHostLink, C::kHostCopy},
    {"load_activations", R::kHostLink, C::kHostCopy},
    {"notify", R::kAllToAll, C::kCommNotify},
    {"dispatch", R::kAllToAll, C::kCommDispatch},
    {"combine", R::kAllToAll, C::kCommCombine},
    {"send", R::kNetwork, C::kCommP2p},
    {"recv", R::kNetwork, C::kCommP2p},
    {"reduce_scatter", R::kNetwork, C::kCommGradient},
    {"all_gather", R::kNetwork, C::kCommGradient},
    {"ring_exchange", R::kNetwork, C::kCommContext},
    {"scatter_heads", R::kNetwork, C::kCommContext},
    {"gather_heads", R::kNetwork, C::kCommContext},
    {"all_reduce", R::kNetwork, C::kCommGradient},
}};

}  // namespace

const std::string_view kKernelClassNames[kKernelClasses] = {
    "gemm_dense",    "gemm_grouped", "gemm_wgrad",  "gemm_bf16", "attn_core_fwd",
    "attn_core_bwd", "quant_cast",   "transpose",   "rmsnorm",   "rope_copy",
    "swiglu",        "moe_permute",  "elementwise", "optimizer", "comm_dispatch",
    "comm_combine",  "comm_notify",  "comm_layout", "comm_p2p",  "comm_gradient",
    "comm_tensor",   "comm_context", "host_copy"};

const std::string_view kPhaseNames[kPhases] = {"forward", "backward", "weight", "optimizer"};

std::string_view op_kind_name(OpKind k) { return kKinds[static_cast<std::size_t>(k)].name; }

Resource op_resource(OpKind k) { return kKinds[static_cast<std::size_t>(k)].resource; }

bool modifies_first_input(OpKind k) {
  return k == OpKind::kRope || k == OpKind::kRopeBackward || k == OpKind::kCrossEntropy ||
         k == OpKind::kAddPositions || k == OpKind::kCrossEntropyMerge;
}

KernelClass op_kind_class(OpKind k) { return kKinds[static_cast<std::size_t>(k)].cls; }

}  // namespace orrery
