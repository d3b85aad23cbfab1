// Optimizer states in host memory: copies that run beside kernels.
#include "runtime/cuda/op_call.h"

namespace orrery {
namespace {

struct StatePart {
  char* held;  // in the share's array
  int64_t bytes;
};

// Of the arrays of a share, in the order in which a tensor of loaded states has them.
std::vector<StatePart> parts_of(const CudaOpCall& c, const CudaWeights::Share& s, int64_t first,
                                int64_t n) {
  const int64_t moment = c.weights.bf16_moments() ? 2 : 4;
  std::vector<StatePart> parts = {{s.master.data() + 4 * first, 4 * n}};
  for (int m = 0; m < (s.spec->muon() ? 1 : 2); ++m)
    parts.push_back({s.moments[m].data() + moment * first, moment * n});
  return parts;
}

}  // namespace

DeviceStates states_of(CudaOpCall& c, const CudaWeights::Share& share, int64_t first, int64_t n) {
  const std::vector<StatePart> parts = parts_of(c, share, first, n);
  std::vector<char*> at;
  char* loaded = c.config.plan.dp.offload_optimizer ? c.in.back()->data : nullptr;
  for (const StatePart& p : parts) {
    at.push_back(loaded == nullptr ? p.held : loaded);
    if (loaded != nullptr) loaded += p.bytes;
  }
  return {reinterpret_cast<float*>(at[0]), at[1], at.size() > 2 ? at[2] : nullptr};
}

void copy_states(CudaOpCall& c) {
  const bool load = c.op.kind == OpKind::kLoadStates;
  const ShardRange part = owned_part(c.shape(), c.weights.layout());
  if (part.elements == 0) return;
  const auto& share = c.weights.shares()[static_cast<std::size_t>(c.shape().index)];
  char* at = (load ? c.out : c.in)[0]->data;
  for (const StatePart& p : parts_of(c, share, part.begin, part.elements)) {
    cuda_check(
        cudaMemcpyAsync(load ? at : p.held, load ? p.held : at, static_cast<std::size_t>(p.bytes),
                        load ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, c.stream),
        "copying optimizer states");
    at += p.bytes;
  }
}

}  // namespace orrery
