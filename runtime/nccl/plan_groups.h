// The communicators of a rank's class, one per group of the plan, connected.
#pragma once

#include <memory>
#include <vector>

#include "runtime/cuda/collectives.h"
#include "runtime/launch/bootstrap.h"

namespace orrery {

class PlanGroups {
 public:
  // Collective: all ranks make all groups in one order.
  PlanGroups(const ExecPlan& plan, Bootstrap& bootstrap);
  ~PlanGroups();

  // In the order of RankClass::communicators; nullptr for groups of one rank.
  std::vector<Collectives*> of_class() const;

 private:
  std::vector<std::unique_ptr<Collectives>> groups_;
};

}  // namespace orrery
