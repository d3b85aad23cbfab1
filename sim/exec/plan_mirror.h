// Rank classes that are mirror images of each other: DualPipe's rank r holds the stages of rank
// p-1-r, runs the same blocks with the two directions of the pipeline swapped, and is at every
// moment of the step where the other one is. So the simulator runs one of the two (SimEngine); what
// it says of that one holds for the other, to the picosecond.
//
// Nothing is assumed about the schedule. A mirror maps each class to another one that holds its
// stages in other chunks, each stream to that of the other lane, each op, event and tensor to the
// one in the same place of the same stage, and each communicator to one of the same kind. It is
// found only if every call, instruction and duration agrees, and communicators of all classes map
// consistently; then the engine, which is a function of these alone, takes both classes through the
// same states.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "sim/exec/plan_timing.h"
#include "sim/graph/exec_plan.h"

namespace orrery {

struct PlanMirror {
  using Key = std::pair<CommKind, uint32_t>;  // of a Communicator

  std::vector<uint32_t> of_class;  // never the class itself
  std::vector<uint32_t> of_op;     // of plan ops
  std::map<Key, uint32_t> of_key;  // a key of the same kind, perhaps the same one

  // The lower of two classes stands for both.
  bool represents(uint32_t rank_class) const { return rank_class < of_class[rank_class]; }
};

// Nothing when a class has no image. O(instructions of the blocks + calls), and O(classes) where no
// two classes hold the same stages.
std::optional<PlanMirror> find_mirror(const ExecPlan& plan, const PlanTiming& timing);

}  // namespace orrery
