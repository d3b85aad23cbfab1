// The CPU thread of a rank that runs an eager framework: what it needs to issue the work of a
// layer, and where it stops for a result of the GPU. Times are of one x86 core of a server of the
// GPUs' age; NodeSpec::host_slowdown has those of other hosts.
//
// Sources: autograd's forward and backward of single operators as measured with PyTorch; how many
// kernels Transformer Engine's GroupedLinear launches (pytorch/module/grouped_linear.py,
// cpp_extensions/gemm.py: one product, and one cast, per expert); what CUDA graphs of parts of a
// layer hold (Megatron-Core, transformer/moe, cuda_graph_scope).
#pragma once

#include <cstdint>
#include <string_view>

#include "sim/base/json_reader.h"
#include "sim/spec/provenance.h"

namespace orrery {

// Host time of one operator of each sort, one way through it: the Python call, autograd's node and
// the launch of its kernel. Microseconds.
struct HostOperators {
  Sourced product;      // a linear layer, attention, a communication that autograd knows
  Sourced norm;         // one that is fused into a kernel
  Sourced activation;   // of a feed-forward block
  Sourced elementwise;  // all else
};

// What CUDA graphs hold, forward and backward, so that the host launches it as one: parts of a
// layer, or all.
//   router     the norm before the router, the router, and shared experts (moe_router,
//              moe_preprocess)
//   attention  from the layer's input to the attention's output (attn)
//   iteration  all of a step: nothing waits for the host
enum class HostGraphs : uint8_t { kNone, kRouter, kAttention, kAttentionAndRouter, kIteration };
extern const std::string_view kHostGraphsNames[5];

struct HostSpec {
  // What the stack's modules take over the bare operators.
  Sourced scale;
  // A kernel that is no operator of Python's: a cast, a collective of the gradients.
  Sourced kernel_us;
  // One expert of a grouped product, or of the cast of its operand: Transformer Engine multiplies
  // and casts expert by expert.
  Sourced expert_us;
  HostOperators forward_us, backward_us;
  // From the end of the kernel that counts the tokens of each expert until the host has read the
  // counts, which give the shapes of what it launches next. It waits there for the GPU in every
  // forward of a layer of experts that drops no tokens. 0: it never waits.
  Sourced counts_wait_us;
  HostGraphs graphs = HostGraphs::kNone;

  bool graphs_router() const {
    return graphs == HostGraphs::kRouter || graphs == HostGraphs::kAttentionAndRouter;
  }
  bool graphs_attention() const {
    return graphs == HostGraphs::kAttention || graphs == HostGraphs::kAttentionAndRouter;
  }
};

HostSpec read_host(json::Reader r);

}  // namespace orrery
