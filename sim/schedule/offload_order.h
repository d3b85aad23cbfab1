// Where the copies of activations to and from host memory stand among the units of a block.
#pragma once

#include "sim/schedule/block_emitter.h"

namespace orrery {

class OffloadOrder {
 public:
  OffloadOrder(BlockEmitter& e, const ExecPlan& plan, Role role, const StageAt& at);

  // After the forward of a unit: the compute stream waits for the copies of the units before, of
  // this micro-batch or an earlier one, and this unit's follow. A copy begins when its tensor is
  // there, beside the rest of the forward.
  void after_forward(int unit);
  // Before the backward of a unit: the tensors of the unit below come back, no sooner than this
  // backward starts.
  void before_backward(int unit);

 private:
  bool has(SegmentKind segment, int unit) const { return graph_.find(segment, unit) != nullptr; }

  BlockEmitter& e_;
  const StageGraph& graph_;
  Role role_;
  StageAt at_;
};

// The tensors of the stage's last unit come back in a block of their own (BlockKind::kReload).
bool reloads_last_unit(const StageGraph& g);
// Those of the other units come back inside the block of their backward.
bool reloads_in_backward(const StageGraph& g);

}  // namespace orrery
