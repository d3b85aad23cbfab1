#include "sim/schedule/schedule.h"

namespace orrery {

StagePlace place_of_stage(const PlanSpec& plan, int stage, int lane) {
  const int ranks = static_cast<int>(plan.pipeline_parallel);
  switch (plan.schedule) {
    case ScheduleKind::kDualPipe:
      return {lane == 0 ? stage : ranks - 1 - stage, lane};
    case ScheduleKind::kZbV:
    case ScheduleKind::kDualPipeV:
      return stage < ranks ? StagePlace{stage, 0} : StagePlace{2 * ranks - 1 - stage, 1};
    default:
      return {stage % ranks, 0};
  }
}

int lane_of_chunk(ScheduleKind kind, int chunk) {
  const bool both = kind == ScheduleKind::kDualPipe || kind == ScheduleKind::kDualPipeV ||
                    kind == ScheduleKind::kZbV;
  return both && chunk % 2 != 0 ? 1 : 0;
}

std::vector<RankSchedule> make_schedules(const PlanSpec& plan, const ChunkTimes& times) {
  const int ranks = static_cast<int>(plan.pipeline_parallel);
  const int chunks = static_cast<int>(plan.virtual_pipeline);
  const int batches = static_cast<int>(plan.micro_batches());
  const bool pairs = plan.overlap_expert_parallel;
  if (plan.schedule == ScheduleKind::kZbV) return schedule_zb_v(ranks, batches, times);
  const auto of_rank = [&](int rank) {
    switch (plan.schedule) {
      case ScheduleKind::kGPipe:
        return schedule_gpipe(rank, ranks, batches);
      case ScheduleKind::kInterleaved1F1B:
        return schedule_interleaved(rank, ranks, chunks, batches, pairs);
      case ScheduleKind::kZbH1:
        return schedule_zb_h1(rank, ranks, batches);
      case ScheduleKind::kDualPipe:
        return schedule_dualpipe(rank, ranks, batches);
      case ScheduleKind::kDualPipeV:
        return schedule_dualpipe_v(rank, ranks, batches);
      default:
        return schedule_1f1b(rank, ranks, batches, pairs);
    }
  };
  std::vector<RankSchedule> all;
  for (int r = 0; r < ranks; ++r) all.push_back(of_rank(r));
  return all;
}

}  // namespace orrery
