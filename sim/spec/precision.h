// Precision recipes: in which formats the matrix products of a plan compute, what is cast for them,
// and which copies of the weights there are. Embedding, norms, router, attention core and head stay
// BF16 in all of them, gradients and master weights FP32.
//
//   bf16, fp16    16-bit products. fp16 scales the loss; the optimizer unscales the gradients and
//                 looks for overflow, one more pass over them.
//   fp8           DeepSeek-V3 (arXiv 2412.19437, section 3.3): E4M3, activations in 1x128 tiles,
//                 weights in 128x128 blocks, which are the only copy; transposed copies made when
//                 they are needed; tokens travel to experts in FP8.
//   fp8_delayed   Transformer Engine's delayed scaling: one scale per tensor, from the largest
//                 magnitudes of earlier steps, so that one fused kernel reads BF16 and writes both
//                 the operand and its transpose for the weight gradient; E4M3 forward, E5M2
//                 gradients. The transpose is what the backward keeps of an input.
//   fp8_current   the same with the scale of the tensor itself, which one more kernel finds first.
//   fp8_rowwise   torchao: E4M3 with a scale per row; copies by row, and in the backward by column,
//                 cast by every rank from BF16 rows that a tensor-parallel group has gathered;
//                 input gradients get their scales from a kernel of their own.
//   mxfp8         OCP microscaling (E8M0 scales per 1x32), E4M3 throughout; one kernel writes the
//                 row-wise and the column-wise copy, which no transpose relates.
//   nvfp4         arXiv 2509.25149: E2M1 in 1x16 blocks with E4M3 scales and an FP32 one per tensor
//                 (whose amax one more kernel finds), a random 16-point Hadamard transform of the
//                 column-wise copies, stochastic rounding of gradients.
//
// Weights of the last five are BF16 with a row-wise and a column-wise copy beside, cast once a step
// (Megatron's default; --fp8-param-gather, which keeps no BF16, is not modelled). The attention
// core may compute in FP8 beside any of them (PlanSpec::fp8_attention). Not modelled either: norms
// that write FP8 themselves.
#pragma once

#include <array>
#include <string_view>

#include "sim/spec/dtype.h"

namespace orrery {

enum class Precision : uint8_t {
  kBf16,
  kFp8,
  kFp16,
  kFp8Delayed,
  kFp8Current,
  kFp8Rowwise,
  kMxfp8,
  kNvfp4,
};
constexpr int kPrecisions = 8;
extern const std::string_view kPrecisionNames[kPrecisions];

// Products of operands cast from BF16 activations, with weight copies in both directions: all but
// bf16, fp16 and fp8.
bool casts_operands(Precision p);
// Of those: one kernel writes the operand of the product and that of the weight gradient.
bool casts_both_ways(Precision p);
// Of those: a kernel finds the largest magnitude before the cast.
bool needs_amax(Precision p);
// Element type of what is cast, and of the weights with their copies; BF16 where nothing is cast.
Dtype operand_dtype(Precision p);
Dtype weight_dtype(Precision p);

}  // namespace orrery
