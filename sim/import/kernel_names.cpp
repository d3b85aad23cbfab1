#include "sim/import/kernel_names.h"

#include <algorithm>

namespace orrery {
namespace {

struct Pattern {
  std::string_view text;
  KernelFamily family;
  KernelClass cls = KernelClass::kElementwise;
};
using F = KernelFamily;
using C = KernelClass;

// First match wins: an exact name of one library comes before a word that many use.
constexpr Pattern kPatterns[] = {
    // DeepEP; its internode kernels are those of the published profile.
    {"::combine<", F::kExchange, C::kCommCombine},
    {"notify", F::kExchange, C::kCommNotify},
    {"get_dispatch_layout", F::kMoe, C::kCommLayout},
    {"::dispatch<", F::kExchange, C::kCommDispatch},
    // NCCL: ncclDevKernel_AllReduce_Sum_bf16_RING_LL, ncclKernel_SendRecv_RING_SIMPLE_...
    {"ncclDevKernel_AllReduce", F::kAllReduce, C::kCommGradient},
    {"ncclKernel_AllReduce", F::kAllReduce, C::kCommGradient},
    {"ncclDevKernel_ReduceScatter", F::kReduceScatter, C::kCommGradient},
    {"ncclKernel_ReduceScatter", F::kReduceScatter, C::kCommGradient},
    {"ncclDevKernel_AllGather", F::kAllGather, C::kCommGradient},
    {"ncclKernel_AllGather", F::kAllGather, C::kCommGradient},
    {"ncclDevKernel_SendRecv", F::kExchange, C::kCommP2p},
    {"ncclKernel_SendRecv", F::kExchange, C::kCommP2p},
    {"nccl", F::kOtherCommunication, C::kCommGradient},
    {"nvshmem", F::kOtherCommunication, C::kCommP2p},
    {"cross_device_reduce", F::kAllReduce, C::kCommTensor},
    {"one_shot_all_reduce", F::kAllReduce, C::kCommTensor},
    {"two_shot_all_reduce", F::kAllReduce, C::kCommTensor},
    {"multimem_all_reduce", F::kAllReduce, C::kCommTensor},
    // Inductor's fused maps and sums are named after all that they fuse.
    {"triton_poi_", F::kMap},
    {"triton_red_", F::kMap},
    {"triton_per_", F::kMap},
    {"flex_attention_backward", F::kAttentionBackward, C::kAttentionBackward},
    {"flex_attention", F::kAttentionForward, C::kAttentionForward},
    {"triton_tem_", F::kGemm, C::kGemmBf16},
    // DeepSeek's, in order of their classes.
    {"fill_tensormaps", F::kCopy},
    {"m_grouped_fp8", F::kGemm, C::kGemmGrouped},
    {"fp8_dptp128c_acc", F::kGemm, C::kGemmWgrad},
    {"fp8_ptp128c", F::kGemm, C::kGemmDense},
    {"sm90_xmma_gemm_bf16", F::kGemm, C::kGemmBf16},
    {"cublas", F::kGemm, C::kGemmBf16},
    {"FlashAttnBwd", F::kAttentionBackward, C::kAttentionBackward},
    {"flash::compute_attn_ws", F::kAttentionForward, C::kAttentionForward},
    {"FlashAttnFwd", F::kAttentionForward, C::kAttentionForward},
    {"per_token_cast", F::kCast, C::kQuantCast},
    {"per_channel_cast", F::kCast, C::kQuantCast},
    {"cast_back", F::kCast, C::kQuantCast},
    {"batched_transpose", F::kCast, C::kTranspose},
    {"utils::transpose", F::kCast, C::kTranspose},
    {"layer_norm::", F::kNorm, C::kNorm},
    {"rotary_kernel", F::kMap, C::kRopeCopy},
    {"_copy_tensor_kernel", F::kMap, C::kRopeCopy},
    {"swiglu_forward_backward", F::kMap, C::kSwiGlu},
    {"swiglu_weight_backward", F::kMap, C::kSwiGlu},
    {"swiglu_backward", F::kMap, C::kSwiGlu},
    {"reduce_fused", F::kMoe, C::kMoePermute},
    {"expand_to_fused", F::kMoe, C::kMoePermute},
    {"get_fused_mapping", F::kMoe, C::kMoePermute},
    {"clean_and_count_expert", F::kMoe, C::kMoePermute},
    // Other attentions: FlashAttention 2 and 3, cuDNN, xformers.
    {"flash_bwd", F::kAttentionBackward, C::kAttentionBackward},
    {"flash_bprop", F::kAttentionBackward, C::kAttentionBackward},
    {"compute_dot_do_o", F::kAttentionBackward, C::kAttentionBackward},
    {"convert_dq_to_16bits", F::kAttentionBackward, C::kAttentionBackward},
    {"fmha_cutlassB", F::kAttentionBackward, C::kAttentionBackward},
    {"sdpa_sm", F::kAttentionForward, C::kAttentionForward},
    {"flash_fwd", F::kAttentionForward, C::kAttentionForward},
    {"flash_fprop", F::kAttentionForward, C::kAttentionForward},
    {"fmha_cutlassF", F::kAttentionForward, C::kAttentionForward},
    {"fmha", F::kAttentionForward, C::kAttentionForward},
    // Optimizers and the norm of the gradients: Apex, PyTorch's foreach and fused.
    {"multi_tensor_apply", F::kOptimizer, C::kOptimizer},
    {"LpNorm", F::kOptimizer, C::kOptimizer},
    {"adam", F::kOptimizer, C::kOptimizer},
    {"Adam", F::kOptimizer, C::kOptimizer},
    // Norms.
    {"rmsnorm", F::kNorm, C::kNorm},
    {"rms_norm", F::kNorm, C::kNorm},
    {"RMSNorm", F::kNorm, C::kNorm},
    {"layer_norm", F::kNorm, C::kNorm},
    {"LayerNorm", F::kNorm, C::kNorm},
    {"ln_fwd", F::kNorm, C::kNorm},
    {"ln_bwd", F::kNorm, C::kNorm},
    {"GammaBeta", F::kNorm, C::kNorm},
    // Loss.
    {"cross_entropy", F::kLoss},
    {"cunn_SoftMax", F::kLoss},
    {"nll_loss", F::kLoss},
    // MoE.
    {"topk", F::kMoe},
    {"TopK", F::kMoe},
    {"permute", F::kMoe},
    {"moe_", F::kMoe},
    {"router", F::kMoe},
    // Products.
    {"nvjet", F::kGemm, C::kGemmBf16},
    {"gemm", F::kGemm, C::kGemmBf16},
    {"Gemm", F::kGemm, C::kGemmBf16},
    {"GEMM", F::kGemm, C::kGemmBf16},
    {"gemv", F::kGemm, C::kGemmBf16},
    {"xmma", F::kGemm, C::kGemmBf16},
    {"splitKreduce", F::kGemm, C::kGemmBf16},
    {"cutlass", F::kGemm, C::kGemmBf16},
    // Casts of Transformer Engine and TorchAO.
    {"cast", F::kCast},
    {"quantize", F::kCast},
    {"amax", F::kCast},
    {"transpose", F::kCast},
    // Maps.
    {"swiglu", F::kMap, C::kElementwise},
    {"silu", F::kMap},
    {"gelu", F::kMap},
    {"rope", F::kMap},
    {"rotary", F::kMap},
    {"dropout", F::kMap},
    {"elementwise", F::kMap},
    {"reduce_kernel", F::kMap},
    {"Reduce", F::kMap},
    {"CatArray", F::kMap},
    {"embedding", F::kMap},
    {"index", F::kMap},
    {"gather", F::kMap},
    {"scatter", F::kMap},
    {"softmax", F::kMap},
    {"SoftMax", F::kMap},
    {"cub::", F::kMap},
    {"distribution", F::kMap},
    {"fill", F::kCopy},
    {"Memcpy", F::kCopy},
    {"Memset", F::kCopy},
    {"copy", F::kCopy},
};

}  // namespace

const std::string_view kKernelFamilyNames[kKernelFamilies] = {"gemm",
                                                              "attention forward",
                                                              "attention backward",
                                                              "norm",
                                                              "cast and transpose",
                                                              "MoE routing",
                                                              "cross entropy",
                                                              "element-wise",
                                                              "optimizer",
                                                              "copy and fill",
                                                              "all-reduce",
                                                              "reduce-scatter",
                                                              "all-gather",
                                                              "all-to-all, send, recv",
                                                              "other communication",
                                                              "unknown"};

KernelName classify_kernel(std::string_view name) {
  for (const Pattern& p : kPatterns)
    if (name.find(p.text) != std::string_view::npos) return {p.family, p.cls};
  return {F::kUnknown, C::kElementwise};
}

KernelFamily op_family(const Op& op) {
  switch (op.kind) {
    case OpKind::kAllReduce:
      return F::kAllReduce;
    case OpKind::kReduceScatter:
      return F::kReduceScatter;
    case OpKind::kAllGather:
      return F::kAllGather;
    case OpKind::kRouter:
    case OpKind::kRouterBackward:
    case OpKind::kDispatchLayout:
      return F::kMoe;
    case OpKind::kCrossEntropy:
    case OpKind::kCrossEntropyPart:
    case OpKind::kCrossEntropyMerge:
      return F::kLoss;
    case OpKind::kLoadTokens:
    case OpKind::kZeroGrad:
    case OpKind::kLoadStates:
    case OpKind::kStoreStates:
    case OpKind::kStoreActivations:
    case OpKind::kLoadActivations:
      return F::kCopy;
    default:
      break;
  }
  if (op_resource(op.kind) != Resource::kCompute) return F::kExchange;
  switch (op_class(op)) {
    case C::kGemmDense:
    case C::kGemmGrouped:
    case C::kGemmWgrad:
    case C::kGemmBf16:
      return F::kGemm;
    case C::kAttentionForward:
      return F::kAttentionForward;
    case C::kAttentionBackward:
      return F::kAttentionBackward;
    case C::kNorm:
      return F::kNorm;
    case C::kQuantCast:
    case C::kTranspose:
      return F::kCast;
    case C::kMoePermute:
      return F::kMoe;
    case C::kOptimizer:
      return F::kOptimizer;
    default:
      return F::kMap;
  }
}

std::string short_kernel_name(std::string_view name) {
  if (name.starts_with("void ")) name.remove_prefix(5);
  // A name may begin with "(anonymous namespace)".
  const std::size_t from = name.starts_with('(') ? name.find(')') : 0;
  const std::size_t end = std::min(name.find('<'), name.find('(', from + 1));
  return std::string(name.substr(0, end));
}

}  // namespace orrery
