// Turns an ordered list of graph ops into the instructions of a block: launches on streams, events
// where a tensor crosses streams, allocations before the first writer and frees after the last
// readers.
#pragma once

#include <vector>

#include "sim/graph/exec_plan.h"

namespace orrery {

// A stage as a rank holds it: the chunk that it is and the lane of its transfers (StreamKind).
struct StageAt {
  int stage = -1;
  int chunk = 0;
  int lane = 0;
  // Whether the micro-batch is the first of the step to go forward, or the last to leave weight
  // gradients, where the block has collectives only then.
  bool first_forward = false, last_weights = false;
};

// The pipeline streams of lane 1 follow those of lane 0.
StreamKind lane_stream(StreamKind s, int lane);

class BlockEmitter {
 public:
  BlockEmitter(ExecPlan& plan, BlockKind kind) : plan_(plan) { block_.kind = kind; }

  // Appends the ops of one segment (nothing when the stage has none).
  void add(Role role, const StageAt& at, SegmentKind segment, int unit);
  // Holds stream `s` until the compute stream reaches the start of the block.
  void gate(StreamKind s) { gated_.push_back(s); }
  // Holds stream `s` from here on until stream `until` has run all that was added so far, in this
  // block or before.
  void hold(StreamKind s, StreamKind until = StreamKind::kCompute) {
    items_.push_back({kHold, until, s, {}});
  }
  bool uses(StreamKind s) const;
  Block finish();

 private:
  static constexpr uint32_t kHold = UINT32_MAX;
  struct Item {
    uint32_t plan_op;
    StreamKind stream;
    StreamKind waiter = StreamKind::kCompute;  // of a hold
    std::vector<int> writers = {};  // of each operand read: the last item before it, -1: none
    bool is_op() const { return plan_op != kHold; }
  };
  struct TensorState {
    int writer = -1;  // last item so far that writes it
    int first_writer = -1;
    std::vector<int> last_readers;  // per stream, items that free it
  };

  const Op& op(const Item& i) const { return plan_.graph_op(plan_.ops[i.plan_op]); }
  TensorState& state(Role role, TensorId t);
  void scan();
  void emit_hold(StreamKind s, StreamKind until);
  void emit_item(int index);
  bool allocates(int index, Role role, const StageGraph& g, TensorId t);
  void emit_waits(int index, Role role, TensorId input, int writer);
  void emit_copies_done();
  void emit_tail();
  void drop_unused_events();
  void instr(Instr::Kind kind, StreamKind s, Role role, uint32_t arg);
  void wait_slot(StreamKind s, Role role, SlotEvent e);

  ExecPlan& plan_;
  Block block_;
  std::vector<Item> items_;
  std::vector<StreamKind> gated_;
  std::vector<TensorState> tensors_[2];  // by role: forward, backward
  std::vector<int> event_of_item_;       // -1: nobody waits for it
  int waited_[kStreams][kStreams];       // [waiter][writer]: last item already waited for
  bool slot_waited_[kStreams][3][kSlotEvents] = {};
};

}  // namespace orrery
