#include <algorithm>

#include "sim/schedule/schedule.h"

namespace orrery {

RankSchedule schedule_1f1b(int rank, int ranks, int micro_batches) {
  RankSchedule s;
  s.stage_of_chunk = {rank};
  s.batches_per_chunk = micro_batches;
  const int warmup = std::min(ranks - 1 - rank, micro_batches);
  int16_t f = 0, b = 0;
  const auto forward = [&] { s.steps.push_back({BlockKind::kForward, 0, f++}); };
  const auto backward = [&] { s.steps.push_back({BlockKind::kBackward, -1, -1, 0, b++}); };
  while (f < warmup) forward();
  while (f < micro_batches) forward(), backward();
  while (b < micro_batches) backward();
  return s;
}

}  // namespace orrery
