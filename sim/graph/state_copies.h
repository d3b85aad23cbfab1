// Optimizer states in host memory (DataParallelSpec::offload_optimizer): a chunk of a share's
// master weights and moments is copied to the GPU, updated there and copied back, while the next
// one comes and the one before goes. GPU memory holds two chunks at a time.
#pragma once

#include "sim/graph/optimizer.h"

namespace orrery {

// What one update works on: of a share's parameters that a rank owns `elements` from the `first`
// on.
struct UpdateChunk {
  int64_t first = 0, elements = 0;
};
// Of AdamW offload_chunk_parameters at a time, or all when the states are on the GPU; of Muon whole
// matrices (muon.h).
std::vector<UpdateChunk> update_chunks(const PlanSpec& plan, const OptimizerShare& share);

class StateCopies {
 public:
  // The chunks of all shares are updated in their order.
  StateCopies(StageBuilder& b, const PlanSpec& plan, const std::vector<OptimizerShare>& shares);

  bool on() const { return plan_.dp.offload_optimizer; }
  // The next chunk's states, from the host; appends also the copy of the one after it. kLoadStates,
  // kStoreStates: m parameters of n bytes each.
  TensorId next();
  // What an op that changes the states in place writes, so that store() comes after it.
  TensorId changed();
  // Back to the host, those of the last next().
  void store(TensorId changed);

 private:
  struct Copy {
    OpShape shape;
    int16_t model_chunk;
    TensorId states, stored;
  };
  void load(std::size_t i);

  StageBuilder& b_;
  const PlanSpec& plan_;
  std::vector<Copy> copies_;
  std::size_t loaded_ = 0, taken_ = 0;
};

}  // namespace orrery
