// What the parts of the plan compiler share: the stage graphs and where they are.
#pragma once

#include <vector>

#include "sim/graph/exec_plan.h"
#include "sim/graph/stage_builder.h"

namespace orrery {

struct PlanContext {
  const GraphConfig& config;
  const ExecPlan& plan;          // with the graphs of all stages
  std::vector<int> copies;       // ranks of one pipeline that hold each stage
  int64_t embedding_copies = 0;  // stages that hold the embedding

  const StageGraph& graph(int stage) const { return plan.stages[static_cast<std::size_t>(stage)]; }
  // Ranks that hold the dense weights of a stage.
  int64_t replicas(int stage) const {
    return config.plan.data_parallel * copies[static_cast<std::size_t>(stage)];
  }
};

// The stage of a chunk of the class; -1: none.
inline int stage_of(const RankClass& c, int chunk) {
  return chunk < 0 ? -1 : c.stage_of_chunk[static_cast<std::size_t>(chunk)];
}

}  // namespace orrery
