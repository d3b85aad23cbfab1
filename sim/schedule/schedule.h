// Pipeline schedules: the order of (forward | backward | weight, chunk, micro-batch) on each rank.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/graph/exec_plan.h"
#include "sim/spec/plan.h"

namespace orrery {

// One step of a rank. Micro-batches are numbered per chunk, from 0.
struct ScheduleStep {
  BlockKind kind;
  int16_t forward_chunk = -1, forward_batch = -1;
  int16_t backward_chunk = -1, backward_batch = -1;  // also of kWeight
};

struct RankSchedule {
  std::vector<int> stage_of_chunk;  // pipeline stage of each model chunk that the rank holds
  int batches_per_chunk = 0;
  std::vector<ScheduleStep> steps;
};

// 1F1B (PipeDream-Flush; Megatron-LM): rank r warms up with ranks-1-r forwards, alternates, drains.
// In-flight micro-batches at rank r: ranks - r. Bubble (p-1)(F+B).
RankSchedule schedule_1f1b(int rank, int ranks, int micro_batches);

// DualPipe (DeepSeek-V3, arXiv 2412.19437, section 3.2.1): half of the micro-batches enter at each
// end; rank r holds stage r of the one direction (chunk 0) and stage ranks-1-r of the other
// (chunk 1). Bubble (p/2-1)(F&B + B - 3W), p+1 micro-batches of activations. Needs an even number
// of ranks and an even number of micro-batches, at least 2·ranks.
RankSchedule schedule_dualpipe(int rank, int ranks, int micro_batches);

RankSchedule make_schedule(const PlanSpec& plan, int rank);

}  // namespace orrery
