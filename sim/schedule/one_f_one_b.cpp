#include <algorithm>

#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

// The order of (chunk, micro-batch) in which a rank runs its forwards or its backwards.
struct Turn {
  int chunk, batch;
};

// `warmup` forwards; then a forward and a backward at a time; then the backwards that are left.
RankSchedule alternate(RankSchedule s, const std::vector<Turn>& forwards,
                       const std::vector<Turn>& backwards, std::size_t warmup, bool pairs) {
  const std::size_t n = forwards.size();
  const auto forward = [&](std::size_t i) {
    s.steps.push_back({BlockKind::kForward, forwards[i].chunk, forwards[i].batch});
  };
  const auto backward = [&](std::size_t i) {
    s.steps.push_back({BlockKind::kBackward, -1, -1, backwards[i].chunk, backwards[i].batch});
  };
  warmup = std::min(warmup, n);
  for (std::size_t i = 0; i < warmup; ++i) forward(i);
  for (std::size_t i = warmup; i < n; ++i) {
    const Turn f = forwards[i], b = backwards[i - warmup];
    if (pairs) {
      s.steps.push_back({BlockKind::kPair, f.chunk, f.batch, b.chunk, b.batch});
      continue;
    }
    forward(i);
    backward(i - warmup);
  }
  for (std::size_t i = n - warmup; i < n; ++i) backward(i);
  return s;
}

std::vector<Turn> in_order(int micro_batches) {
  std::vector<Turn> turns;
  for (int b = 0; b < micro_batches; ++b) turns.push_back({0, b});
  return turns;
}

RankSchedule one_chunk(int rank, int micro_batches) {
  RankSchedule s;
  s.stage_of_chunk = {rank};
  s.first_batch_of_chunk = {0};
  s.batches_per_chunk = micro_batches;
  return s;
}

}  // namespace

RankSchedule schedule_gpipe(int rank, int /*ranks*/, int micro_batches) {
  const std::vector<Turn> turns = in_order(micro_batches);
  return alternate(one_chunk(rank, micro_batches), turns, turns, turns.size(), false);
}

RankSchedule schedule_1f1b(int rank, int ranks, int micro_batches, bool pairs) {
  const std::vector<Turn> turns = in_order(micro_batches);
  const int warmup = pairs ? 2 * (ranks - 1 - rank) + 1 : ranks - 1 - rank;
  return alternate(one_chunk(rank, micro_batches), turns, turns, static_cast<std::size_t>(warmup),
                   pairs);
}

RankSchedule schedule_interleaved(int rank, int ranks, int chunks, int micro_batches, bool pairs) {
  RankSchedule s;
  s.batches_per_chunk = micro_batches;
  s.first_batch_of_chunk.assign(static_cast<std::size_t>(chunks), 0);
  for (int c = 0; c < chunks; ++c) s.stage_of_chunk.push_back(rank + c * ranks);
  std::vector<Turn> forwards, backwards;
  for (int group = 0; group < micro_batches; group += ranks)
    for (int c = 0; c < chunks; ++c)
      for (int b = group; b < std::min(group + ranks, micro_batches); ++b) {
        forwards.push_back({c, b});
        backwards.push_back({chunks - 1 - c, b});
      }
  const int warmup = 2 * (ranks - 1 - rank) + (chunks - 1) * ranks + (pairs ? 1 : 0);
  return alternate(std::move(s), forwards, backwards, static_cast<std::size_t>(warmup), pairs);
}

}  // namespace orrery
