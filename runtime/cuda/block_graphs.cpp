#include "runtime/cuda/block_graphs.h"

namespace orrery {

BlockGraphs::State BlockGraphs::look_up(const std::vector<const void*>& addresses) {
  for (current_ = 0; current_ < entries_.size(); ++current_)
    if (entries_[current_].addresses == addresses)
      return entries_[current_].graph ? State::kCaptured : State::kSeen;
  if (entries_.size() < kMost) entries_.push_back({addresses, nullptr});
  return State::kNew;
}

void BlockGraphs::end_capture(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamEndCapture(stream, &graph), "capturing a block");
  cudaGraphExec_t exec = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  cuda_check(made, "making a CUDA graph");
  entries_[current_].graph.reset(exec);
}

void BlockGraphs::launch(cudaStream_t stream) {
  cuda_check(cudaGraphLaunch(entries_[current_].graph.get(), stream), "launching a CUDA graph");
}

}  // namespace orrery
