// The block families of a transformer. Each appends the forward ops of one block and remembers in a
// tape what its backward reads; the backward appends the input-gradient ops and leaves the operands
// of the weight gradients, which their own segment consumes later (zero-bubble W).
#pragma once

#include <utility>
#include <vector>

#include "sim/graph/attention_core.h"

namespace orrery {

using WgradOperands = std::pair<TensorId, TensorId>;
struct PendingWgrad {
  StageBuilder::Linear linear;
  WgradOperands operands;
};

struct AttentionTape {
  TensorId input;           // residual stream that the norm reads
  TensorId forward_normed;  // what the block reads in the forward
  TensorId normed;          // kept for the backward unless norms are recomputed
  StageBuilder::Norm norm, q_norm, kv_norm;
  StageBuilder::Linear q_down, kv_down, q_up, kv_up, out;  // GQA: q_up is q, kv_up is k and v
  StageBuilder::Linear v_up;                               // GQA with QK norm: kv_up is only k
  ParamId sinks;                                           // GQA
  int64_t window = 0;                                      // GQA
  TensorId q_latent, kv_latent, k_rope;  // before the latent norms; GQA: q, k before theirs
  TensorId q_normed, kv_normed;          // MLA: after them
  TensorId q, k, v;                      // before the core
  CoreTape core;
  TensorId core_stash;          // core output, 12-bit with FP8
  TensorId partial_input_grad;  // GQA: of the ranks of a tensor-parallel group to be summed
  std::vector<PendingWgrad> wgrads;
};

struct FfnTape {
  TensorId input;  // residual stream that the norm reads
  TensorId forward_normed, normed;
  StageBuilder::Norm norm;
  // The norm, its input and its output are the attention block's (parallel blocks with one norm).
  bool shares_norm = false;
  ParamId router_weight, router_linear_bias, router_bias;
  StageBuilder::Linear gate_up, down;  // of the dense FFN or of the shared expert
  StageBuilder::Linear up;             // with separate projections: gate_up is the gate alone
  TensorId up_kept;
  TensorId gate_up_kept;                // FP8 when SwiGLU is recomputed in that precision
  TensorId activation_kept;             // BF16, unless SwiGLU is recomputed
  ParamId expert_gate_up, expert_down;  // of the local experts together, each [in, out]
  ParamId expert_gate_up_bias, expert_down_bias;
  ParamId shared_gate;                // [1, hidden]
  TensorId gate_logit, shared_out;    // of the shared expert, before its gate
  TensorId logits, routing;           // of this rank's tokens
  TensorId dispatch_layout;           // with expert parallelism: where they go,
  TensorId arrived, arrived_routing;  // and what came
  TensorId layout, expert_gate_up_kept;
  // Operands of the experts' weight gradients.
  TensorId grad, activation, dgate;
  std::vector<PendingWgrad> wgrads;
};

// The residual stream x plus the previous block's output `add` through the block; the sum is fused
// into the norm. Returns the block's output; `x` becomes the summed residual stream.
Addends attention_forward(StageBuilder& b, TensorId& x, const Addends& add, int layer,
                          AttentionTape& tape);
// From dy, the gradient of the block's output, to that of the normed input; invalid where ranks
// sum it after the weight gradients: attention_norm_backward does.
TensorId attention_backward(StageBuilder& b, TensorId dy, AttentionTape& tape);
// From there to the gradient of both x and add. `residual` is that of the residual stream, fused
// into the norm's backward; `normed_grad` (may be invalid) that of the norm's output through
// another block.
TensorId attention_norm_backward(StageBuilder& b, TensorId dnormed, TensorId residual,
                                 TensorId normed_grad, const AttentionTape& tape);
// The norm's output, kept or computed again.
TensorId attention_input(StageBuilder& b, const AttentionTape& tape);

TensorId mla_forward(StageBuilder& b, TensorId normed, AttentionTape& tape);
TensorId mla_backward(StageBuilder& b, TensorId dy, AttentionTape& tape);
TensorId gqa_forward(StageBuilder& b, TensorId normed, AttentionTape& tape);
TensorId gqa_backward(StageBuilder& b, TensorId dy, AttentionTape& tape);

// Dense FFN, in the mlp segments of its unit.
Addends ffn_dense_forward(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& tape, int unit,
                          int layer);
// dy is the gradient of the residual stream after the block, of which the block's output has the
// part that dropout's `mask` (invalid: none) lets through. Returns that of the stream before the
// block; with a shared norm that of the norm's output.
TensorId ffn_dense_backward(StageBuilder& b, TensorId dy, TensorId mask, FfnTape& tape, int unit,
                            int layer);

// MoE FFN with its shared expert: router (in the attention segment), dispatch, experts, combine.
Addends ffn_moe_forward(StageBuilder& b, TensorId& x, const Addends& add, FfnTape& tape, int unit,
                        int layer);
TensorId ffn_moe_backward(StageBuilder& b, TensorId dy, TensorId mask, FfnTape& tape, int unit,
                          int layer);

// Weight gradients left by the backward.
void linear_wgrads(StageBuilder& b, const std::vector<PendingWgrad>& wgrads);
void expert_wgrads(StageBuilder& b, const FfnTape& tape);

}  // namespace orrery
