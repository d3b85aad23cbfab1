// What the names of GPU kernels say of what they do: NCCL, DeepEP, cuBLAS, CUTLASS, cuDNN,
// FlashAttention, Transformer Engine, Apex, PyTorch's own and Inductor's, DeepSeek's.
#pragma once

#include <string>
#include <string_view>

#include "sim/graph/training_graph.h"

namespace orrery {

// Coarse enough that kernels of any program fall into them by name, and ops of a plan by kind.
enum class KernelFamily : uint8_t {
  kGemm,
  kAttentionForward,
  kAttentionBackward,
  kNorm,
  kCast,  // casts for low precisions, their scales and transposes
  kMoe,   // routing, permutation
  kLoss,  // cross entropy
  kMap,   // element-wise maps, activations, RoPE, embeddings, sums
  kOptimizer,
  kCopy,  // copies and fills
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kExchange,  // all-to-all, send and receive
  kOtherCommunication,
  kUnknown,
};
constexpr int kKernelFamilies = static_cast<int>(KernelFamily::kUnknown) + 1;
extern const std::string_view kKernelFamilyNames[kKernelFamilies];  // "gemm", ...

struct KernelName {
  KernelFamily family;
  KernelClass cls;  // element-wise where the family is all that is known
};

// The first pattern that is part of the name decides; kUnknown when none is.
KernelName classify_kernel(std::string_view name);
KernelFamily op_family(const Op& op);
inline bool is_communication(KernelFamily f) {
  return f >= KernelFamily::kAllReduce && f <= KernelFamily::kOtherCommunication;
}
// "void at::native::elementwise_kernel<128, 4, ...>(int, ...)" -> "at::native::elementwise_kernel".
std::string short_kernel_name(std::string_view name);

}  // namespace orrery
