// Operators of the training graph. One op is one kernel or one collective; everything that takes
// time on a GPU is an op.
#pragma once

#include <cstdint>
#include <string_view>

#include "sim/base/units.h"
#include "sim/spec/hardware.h"

namespace orrery {

enum class OpKind : uint8_t {
  // Tensor-core matrix products.
  kGemm,     // BF16; operands laid out as Op::layout says
  kGemmFp8,  // of cast operands, in the format of the recipe: fprop and dgrad; 1x128 by 128x128
             // scales take their weights transposed (kNT), the others read the copy they need
  kGemmFp8Wgrad,  // kNT, of operands cast along the tokens: as FP32 added to the gradient, or that
  kAttention,
  kAttentionBackward,
  // Memory-bound maps.
  kLoadTokens,  // a micro-batch's token ids from the host
  kEmbedding,
  kEmbeddingBackward,
  kAddPositions,  // learned position vectors, in place
  kPositionsBackward,
  kRmsNorm,
  kRmsNormBackward,
  kRmsNormReduce,  // column sums of the norm's weight gradient
  kLayerNorm,
  kLayerNormBackward,
  kLayerNormReduce,
  kCast,           // BF16 -> FP8 1x128
  kCastTranspose,  // -> FP8 128x1 transposed, for wgrad
  kCastBoth,       // BF16 -> the operand of a product and, transposed, of its weight gradient
  kAmax,           // largest magnitude of a tensor, for its scale
  kCastBack,       // FP8 -> BF16
  kCastE5M6,       // BF16 -> 12-bit stash
  kCastBackE5M6,
  kTransposeFp8,     // weight transpose for dgrad
  kTransposeScales,  // scale factors to the layout that the GEMM reads
  kRope,             // in place
  kRopeBackward,
  kConcatHeads,  // head by head, columns of two tensors side by side
  kCopy,         // columns of each head to a contiguous tensor
  kReduceHeads,  // gradient of the shared k_rope summed over heads
  kRepeatHeads,  // each head of keys or values once for every query head that reads it
  kSumHeads,     // the gradient of that: sums over those copies
  kSwiGlu,
  kSwiGluCast,  // SwiGLU fused with the 1x128 cast
  kSwiGluCastTranspose,
  kSwiGluBackward,
  kSwiGluWeightBackward,  // gradient of the routing weights
  kActivation,            // ungated: one input element for one output element
  kActivationCast,
  kActivationCastTranspose,
  kActivationBackward,
  kBiasBackward,  // column sums of a linear layer's output gradient
  kGate,          // rows multiplied by the sigmoid of a logit each
  kGateBackward,
  kDropout,  // with the mask for its backward
  kDropoutBackward,
  kScale,
  kAdd,
  kPermute,       // arrived rows expanded to one row per (token, local expert)
  kUnpermute,     // weighted sum back to one row per arrived token
  kCrossEntropy,  // forward and the gradient of the logits in place; adds to the loss
  // The same over a split vocabulary: maximum, sum of exponentials and the label's logit of each
  // token in this rank's part; then the loss from all parts, and the gradient in place.
  kCrossEntropyPart,
  kCrossEntropyMerge,
  kAttentionMerge,  // outputs over parts of the keys, weighted by their log-sum-exps
  // Routing, as the stack implements it (StackSpec composites).
  kRouter,  // scores and top-k; counts tokens per expert
  kRouterBackward,
  kExpertLayout,    // rows of each local expert
  kDispatchLayout,  // rows for each rank of the expert-parallel group
  // Optimizer.
  kGradNorm,
  kAdamW,
  kMuonMomentum,   // of clipped gradients; the update in BF16 and its squares, summed in parts
  kMuonNormalise,  // the update over its norm
  kNewtonSchulz,   // a product of the iteration; muon.h has which
  kMuonUpdate,     // weight decay, and the orthogonalised update taken off
  kUnscale,        // FP16: loss scale out of the gradients, and a look for overflow
  kUnshard,        // gathered weights to the copies that kernels read
  kCastWeights,    // updated BF16 weights to the copies that kernels read
  kRouterBias,     // auxiliary-loss-free balancing
  kZeroGrad,
  kLoadStates,        // optimizer states from host memory
  kStoreStates,       // and back
  kStoreActivations,  // what a backward reads, to host memory
  kLoadActivations,   // and back
  // Communication.
  kNotify,    // entry barrier of an all-to-all, with the exchange of counts
  kDispatch,  // tokens to the ranks of their experts
  kCombine,   // expert outputs back, summed per token
  kSend,
  kRecv,
  kReduceScatter,
  kAllGather,
  kRingExchange,  // own tensors to another rank of the group, those of one come; all turn alike
  kScatterHeads,  // some heads of all the group's tokens for all heads of the rank's own
  kGatherHeads,   // the way back
  kAllReduce,
};
constexpr int kOpKinds = static_cast<int>(OpKind::kAllReduce) + 1;
std::string_view op_kind_name(OpKind k);  // "gemm_fp8", ...

// The classes in which kernels are totalled and compared with measured traces.
enum class KernelClass : uint8_t {
  kGemmDense,
  kGemmGrouped,
  kGemmWgrad,
  kGemmBf16,
  kAttentionForward,
  kAttentionBackward,
  kQuantCast,
  kTranspose,
  kNorm,
  kRopeCopy,
  kSwiGlu,
  kMoePermute,
  kElementwise,
  kOptimizer,
  kCommDispatch,
  kCommCombine,
  kCommNotify,
  kCommLayout,
  kCommP2p,
  kCommGradient,
  kCommTensor,   // of tensor and expert-tensor parallelism
  kCommContext,  // of context parallelism
  kHostCopy,
};
constexpr int kKernelClasses = static_cast<int>(KernelClass::kHostCopy) + 1;
extern const std::string_view kKernelClassNames[kKernelClasses];

enum class Phase : uint8_t { kForward, kBackward, kWeight, kOptimizer };
constexpr int kPhases = 4;
extern const std::string_view kPhaseNames[kPhases];

// What an op occupies while it runs; decides which ops slow each other down.
enum class Resource : uint8_t {
  kCompute,   // SMs and HBM
  kAllToAll,  // the communication SMs, NVLink and the NIC
  kNetwork,   // the NIC (P2P, gradient collectives)
  kHostLink,  // a copy engine and the link to the host, which slow nothing else
};
Resource op_resource(OpKind k);
bool modifies_first_input(OpKind k);  // in place
KernelClass op_kind_class(OpKind k);  // of its kernels on their own; see op_class

// How the operands of C[m, n] = A·B lie in memory, row-major: kNT: A[m, k], B[n, k]; kNN: A[m, k],
// B[k, n]; kTN: A[k, m], B[k, n], and C accumulates in FP32 (a weight gradient).
enum class GemmLayout : uint8_t { kNT, kNN, kTN };

// Shape of an op. GEMM: `groups` products of [m, k] x [k, n], m being the rows of all groups
// together; of weight gradients k is, and the groups are the experts from `index` on.
// Attention: m = sequences, n = sequence length, k = heads, with d_qk and d_v; `window` keys before
// and at each query, 0: all of them.
// Memory-bound: m rows of n elements. Ops on heads (RoPE, concat, copy, reduce) see a row as
// `groups` heads and act on `n / groups` (RoPE: n) columns of each from `column` on; a concat puts
// `first` columns of its first input before those of the second. RoPE's heads are `k` columns wide
// where k is given. A norm of `groups` heads norms each on its own. Positions: k is the sequence
// length. kRepeatHeads, kSumHeads: `groups` heads of keys or values, `k` copies of each.
// SwiGLU backward: `first` columns of gate, and as many of up, in tensors of their own; 0: one.
// GEMM and kRingExchange of pipelined rows: `index` - 1 is the step (pipelined_rows.h), 0: all
// rows. kRingExchange: to the rank `column` places before, 0: to the next. kLoadTokens: the ids
// `column` positions ahead; with `first`, those of the rank's `first` entries of the vocabulary,
// counted from there, -1 for others. Optimizer: `index` is the share.
// Attention and its backward with context parallelism: `index` - 1 is the step of the ring, 0: no
// ring. kScatterHeads, kGatherHeads: of k sequences, rows of two parts, `first` elements and the
// rest, 0: one part.
struct OpShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t groups = 1;
  int64_t d_qk = 0, d_v = 0;
  int64_t column = 0, first = 0, index = 0;
  int64_t window = 0;
};

// The work of one op: the only place from which cost models take FLOPs and bytes.
struct OpWork {
  Flops flops{0};
  Bytes hbm{0};      // fewest bytes the kernel must move to and from HBM
  Bytes network{0};  // collectives and P2P: payload of one rank
  Bytes host{0};     // copies between GPU and host
  AccessPattern pattern = AccessPattern::kStream;
  bool contiguous = false;  // of kStrided: RoPE on whole heads, one stretch of memory
};

}  // namespace orrery
