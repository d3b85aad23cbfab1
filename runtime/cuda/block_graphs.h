// CUDA graphs of one block of the plan, one for each set of addresses that came back.
#pragma once

#include <memory>
#include <vector>

#include "runtime/cuda/device.h"

namespace orrery {

class BlockGraphs {
 public:
  explicit BlockGraphs(bool possible = false) : possible_(possible) {}
  // Whether the block has no communication and nothing that changes from call to call.
  bool possible() const { return possible_; }

  enum class State : uint8_t { kNew, kSeen, kCaptured };
  // What is known of these addresses; a call with new ones makes them seen.
  State look_up(const std::vector<const void*>& addresses);
  // After look_up() said kSeen: ends the capture on `stream` and keeps the graph.
  void end_capture(cudaStream_t stream);
  // The graph that look_up() found or end_capture() made.
  void launch(cudaStream_t stream);

 private:
  // Addresses that differ each time would fill memory with graphs of no use.
  static constexpr std::size_t kMost = 64;

  struct Destroy {
    void operator()(cudaGraphExec_t g) const { cudaGraphExecDestroy(g); }
  };
  struct Entry {
    std::vector<const void*> addresses;
    std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy> graph;
  };
  bool possible_;
  std::vector<Entry> entries_;
  std::size_t current_ = 0;
};

}  // namespace orrery
