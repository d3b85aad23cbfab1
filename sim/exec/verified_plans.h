// Plans that were found sound, so that predictions of one plan under other constants verify it
// once.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>

#include "sim/graph/exec_plan.h"

namespace orrery {

class VerifiedPlans {
 public:
  // As verify_or_throw(), but returns at once when a plan equal in all that verification looks at
  // has passed before. Several threads may call it.
  void verify(const ExecPlan& plan);

 private:
  std::mutex mutex_;
  std::set<uint64_t> sound_;  // digests
};

// Of calls, instructions, communicators and operands: 64 bits that differ where verification could
// tell two plans apart. O(instructions of the blocks + calls).
uint64_t plan_digest(const ExecPlan& plan);

}  // namespace orrery
