// Where the collectives on groups of weights stand among the units of a block.
#pragma once

#include "sim/schedule/block_emitter.h"

namespace orrery {

// Weights that are held all step long are gathered with a chunk's first forward, whole gradients
// reduced with its last weight gradients (StageAt); sharded ones with every micro-batch.
class GroupOrder {
 public:
  GroupOrder(BlockEmitter& e, const ExecPlan& plan, Role role, const StageAt& at);

  // Before the first unit of the pass.
  void begin();
  // Before a unit: makes its weights whole and starts to gather those of the next one. That starts
  // no sooner than the unit itself, so at most two units are gathered at a time, as FSDP limits it.
  void before(int unit);
  // After the weight gradients of a unit. A reduction of one micro-batch's gradients waits, with
  // the compute stream, for that of the unit before, as FSDP does to bound memory.
  void after_weights(int unit);

 private:
  bool has(SegmentKind segment, int unit) const { return graph_.find(segment, unit) != nullptr; }
  bool gathers() const { return sharded_ || (at_.first_forward && role_ == Role::kForward); }
  void gather_from(int unit);
  void add(SegmentKind segment, int unit) { e_.add(role_, at_, segment, unit); }

  BlockEmitter& e_;
  const StageGraph& graph_;
  Role role_;
  StageAt at_;
  SegmentKind gather_, unshard_;
  int step_;                  // to the next unit of the pass
  bool sharded_ = false;      // weights
  bool accumulated_ = false;  // whole gradients, over the step
};

}  // namespace orrery
