#include <algorithm>

#include "sim/schedule/schedule.h"

namespace orrery {

RankSchedule schedule_zb_h1(int rank, int ranks, int micro_batches) {
  RankSchedule s;
  s.stage_of_chunk = {rank};
  s.first_batch_of_chunk = {0};
  s.batches_per_chunk = micro_batches;
  const int warmup = std::min(ranks - 1 - rank, micro_batches);
  int f = 0, b = 0, w = 0;
  const auto forward = [&] { s.steps.push_back({BlockKind::kForward, 0, f++}); };
  const auto backward = [&] { s.steps.push_back({BlockKind::kBackwardInput, -1, -1, 0, b++}); };
  const auto weight = [&] { s.steps.push_back({BlockKind::kWeight, -1, -1, 0, w++}); };
  while (f < warmup) forward();
  while (f < micro_batches) {
    forward();
    backward();
    if (b - w > rank) weight();
  }
  while (b < micro_batches) backward(), weight();
  while (w < micro_batches) weight();
  return s;
}

}  // namespace orrery
