// What a training software stack does and what its kernels cost beyond the hardware's limits: an
// input like any other, because the same plan moves by tens of percent between stacks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/spec/collectives.h"
#include "sim/spec/host.h"
#include "sim/spec/provenance.h"

namespace orrery {

// The attention_kernel of stacks from before FlashAttention; sim/cost/unfused_attention.h.
constexpr std::string_view kUnfusedAttention = "unfused";

// An expert-parallel all-to-all kernel: the share of the inter-node line rate that its bytes on the
// wire reach, alone and while compute kernels share the GPU.
struct AllToAllSpec {
  Sourced alone_fraction;
  Sourced overlapped_fraction;
  // Of the effective NVLink rate, at which the kernel's SMs forward tokens that came by network.
  Sourced forward_fraction;
};

// A step that the stack runs as many small kernels (router, index building): its time as measured
// at a reference number of tokens, to which it is proportional above a floor of launches.
struct CompositeSpec {
  Sourced kernels;
  Sourced us;
  Sourced reference_tokens;
};

// What an op of the graph costs beyond its fewest bytes where the stack runs it as several kernels,
// as eager PyTorch does: intermediates written out and read again, and a launch per kernel.
struct UnfusedOp {
  std::string kind;           // an op_kind_name
  Sourced kernels;            // in all
  Sourced bytes_per_element;  // moved beyond OpWork::hbm, per element of op_elements
};

// A memory-bound kernel of the stack as it was measured, in place of the GPU's constants for all
// kernels of its access pattern: fixed_us + bytes / (HBM bandwidth * hbm_efficiency).
// Of rows that are in FP8 already; without " of fp8" of rows in BF16.
constexpr std::string_view kCastTransposeOfFp8 = "cast_transpose_fp8 of fp8";
struct KernelRate {
  std::string kind;        // an op_kind_name, or kCastTransposeOfFp8
  Sourced hbm_efficiency;  // with the op's fewest bytes
  Sourced fixed_us;
};

// Speed of this release's kernels inside training steps over that of the kernels that the GPU's
// profile describes, which were timed alone: other choices of the release's libraries, caches and
// clocks as the kernels around leave them. Without the object: 1.
struct StepSpeed {
  std::string profile;  // the file that says `matrix`, without folder and ".json"; "": none does
  Sourced matrix{1, Source::kAssumed, "", "", ""};        // products and attention
  Sourced memory_bound{1, Source::kAssumed, "", "", ""};  // all other compute
};

// Cross-entropy over a whole vocabulary, and where its gradient goes.
//   in_place   one kernel, which reads the logits twice and leaves the gradient where they were
//   resident   the same, with the logits of a token on the chip from the sum to the gradient
//              (kernels/loss/cross_entropy.h)
//   compiled   fused kernels that leave it beside the logits (torch.compile: an input of the
//              compiled loss is not overwritten)
//   eager      PyTorch, cross_entropy of logits.float(), kernel by kernel: FP32 logits for the
//              log-softmax, which stays; in the backward the gradient of the log-softmax and that
//              of the FP32 logits beside it (ATen LossNLL.cpp, SoftMax.cpp)
enum class LossKernel : uint8_t { kInPlace, kResident, kCompiled, kEager };
extern const std::string_view kLossKernelNames[4];

// What leaves a rank when tokens go to the ranks of their experts, and who carries it.
//   per_node     a token once to each node that has experts of it, and there from GPU to GPU:
//                kernels that AllToAllSpec describes (DeepEP, HybridEP)
//   per_expert   a copy of a token for each of its experts, sorted by rank before they leave, in
//                the all-to-all of the collectives' library (Megatron-Core's "alltoall" dispatcher:
//                megatron/core/transformer/moe/token_dispatcher.py, MoEAlltoAllTokenDispatcher)
enum class TokenDispatch : uint8_t { kPerNode, kPerExpert };
extern const std::string_view kTokenDispatchNames[2];

struct StackSpec {
  std::string name;
  TokenDispatch token_dispatch = TokenDispatch::kPerNode;
  Sourced communication_sms;  // taken from compute while an all-to-all is resident
  // A kernel of the collectives' library starts when the blocks of the running compute kernel leave
  // it their SMs. False: it comes first, as with CUDA_DEVICE_MAX_CONNECTIONS=1 and launches in that
  // order (Megatron), or copy engines do its work.
  bool communication_waits_for_sms = false;
  // Receives between pipeline stages are launched as soon as the one before has ended, and hold SMs
  // while they wait for the sender. False: launched when the tensor comes.
  bool posts_receives_early = false;
  AllToAllSpec dispatch;          // forward: FP8 payload and routing metadata
  AllToAllSpec cached_dispatch;   // backward: FP8 gradients along a known layout
  AllToAllSpec combine;           // BF16
  Sourced all_to_all_barrier_us;  // the entry barrier of each, without skew
  // The barrier is an all-reduce of a word with the stack's collectives, whose time comes on top.
  bool barrier_all_reduces = false;
  Sourced expert_load_cv;  // standard deviation over mean of a rank's expert rows
  CompositeSpec router_forward;
  CompositeSpec router_backward;
  CompositeSpec expert_layout;    // counting rows per expert and building the permutation
  CompositeSpec dispatch_layout;  // counting tokens per destination rank
  // Of GpuSpec::attention_kernels; "": the GPU's default; "unfused": scores are written out
  // (grouped and multi-head attention only).
  std::string attention_kernel;
  // q, k and v, and gate and up, are products of their own, except with precision fp8 and in models
  // with experts.
  bool separate_projections = false;
  bool cast_per_linear = false;  // each Linear casts its own input, even when two share it
  // Weight gradients of a rank's experts are one grouped product; else one each, on two streams.
  bool grouped_wgrad = false;
  // Where products cast their operands both ways (fp8_delayed to nvfp4), the grouped products of a
  // rank's experts apply the gated activation, forward and backward, weight it, and write the next
  // product's operand in both layouts, in epilogues that hide behind their main loops (cuDNN's
  // grouped_gemm_swiglu and grouped_gemm_dswiglu, Transformer Engine's fused grouped MLP).
  bool fused_expert_epilogues = false;
  // With one micro-batch a step, the one product that makes a weight's gradient writes it;
  // else gradients start from zeros that are added to.
  bool writes_gradients = false;
  // The optimizer writes the FP8 weights of a rank that has the whole master weights; else BF16
  // ones, which are cast.
  bool casts_in_optimizer = false;
  bool scale_attention_out = false;  // multiplies the attention block's output, as a kernel
  Sourced reserved_GiB;              // CUDA context, NCCL and allocator reserve on every GPU
  // CPU time to issue one kernel of an eager framework; 0: CUDA graphs, or a host that never lags.
  // Ignored where `host` says more.
  Sourced host_issue_us;
  std::optional<HostSpec> host;
  std::vector<KernelRate> kernel_rates;  // ops that it leaves out: as the GPU's profile has them
  std::vector<UnfusedOp> unfused_ops;
  LossKernel loss_kernel = LossKernel::kInPlace;
  // FSDP2 (torch/distributed/fsdp, foreach_all_gather): gathered weights arrive in a buffer of
  // their own, of the collective's stream, and are copied to a tensor of each parameter.
  bool copies_gathered_weights = false;
  // Selective recomputation keeps the result of every product that its policy names until the
  // layer's backward, needed there or not (torch.utils.checkpoint, _CachingTorchDispatchMode).
  // torch.compile keeps what the backward reads.
  bool keeps_unread_products = false;
  // Grouped-query attention as multi-head attention: keys and values are copied to all query heads
  // before the core, so that a ring sends that many too (torchtitan, repeat_kv of
  // models/llama/model.py). Where keys and values are products of their own.
  bool repeats_kv = false;
  // Tensor-parallel sums of input gradients start after the weight gradients of the same products:
  // autograd computes both in one node, and hands on what is to be summed when it has both. Else
  // they travel beside them (Megatron's LinearWithGradAccumulationAndAsyncCommunication).
  bool sums_after_weight_gradients = false;
  // A ring (context parallelism) that merges each step's output into an FP32 one, and sums and
  // sends gradients of keys and values in FP32 (torch.distributed.tensor.experimental,
  // _attention.py: _SDPAMerger, convert_to_f32).
  bool fp32_ring = false;
  // Transformer Engine's get_dummy_wgrad (pytorch/module/base.py): where products add to the main
  // gradients, autograd is handed one tensor for each shape of a weight, kept for ever.
  bool dummy_weight_gradients = false;
  // PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, sim/memory/caching_allocator.h.
  bool expandable_segments = false;
  // A stage waits for its pipeline transfers to end before it computes on: Megatron-LM's batched
  // transfers and the synchronisation after them (megatron/p2p_communication.py until 2023; later
  // without overlap_p2p_comm).
  bool blocking_p2p = false;
  // Each micro-batch's weight gradients are written in 16 bits and added by kernels of their own,
  // not in the products' epilogues (gradient_accumulation_fusion).
  bool separate_gradient_add = false;
  StepSpeed step_speed;
  CollectiveSpec collectives;  // the library of all other collectives and transfers

  // The kernels of the plan's attention core: those of an FP8 core have "_fp8" added to their name.
  std::string attention_kernel_name(bool fp8) const {
    return attention_kernel + (fp8 ? "_fp8" : "");
  }
  bool unfused_attention() const { return attention_kernel == kUnfusedAttention; }
};

StackSpec read_stack(json::Reader r);

}  // namespace orrery
