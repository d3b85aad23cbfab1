#include <algorithm>
#include <deque>

#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

// A rank sees its nearer pipeline end as phase 0; ranks of the second half see the directions
// swapped.
class DualPipe {
 public:
  // The rank at distance `half_rank` from its end, of two halves of `half` ranks.
  DualPipe(int half, int half_rank, bool swapped, RankSchedule empty)
      : half_(half),
        half_rank_(half_rank),
        swapped_(swapped),
        per_chunk_(empty.batches_per_chunk),
        s_(std::move(empty)) {}

  RankSchedule build() {
    warm_up();
    steady();
    drain();
    return std::move(s_);
  }

 private:
  enum class Zb : bool { kOff, kOn };
  int chunk(int phase) const { return swapped_ ? 1 - phase : phase; }

  void forward(int phase) {
    s_.steps.push_back({BlockKind::kForward, chunk(phase), next_forward_[phase]++});
  }
  void backward(int phase, Zb zb) {
    const int batch = next_backward_[phase]++;
    const bool split = zb == Zb::kOn;
    s_.steps.push_back(
        {split ? BlockKind::kBackwardInput : BlockKind::kBackward, -1, -1, chunk(phase), batch});
    if (split) pending_weights_.push_back(s_.steps.back());
  }
  void weight() {
    ScheduleStep w = pending_weights_.front();
    pending_weights_.pop_front();
    w.kind = BlockKind::kWeight;
    s_.steps.push_back(w);
  }
  void pair(int forward_phase, int backward_phase) {
    s_.steps.push_back({BlockKind::kPair, chunk(forward_phase), next_forward_[forward_phase]++,
                        chunk(backward_phase), next_backward_[backward_phase]++});
  }

  // Forwards of the near direction, then of both, then the first zero-bubble backwards.
  void warm_up() {
    for (int i = 0; i < 2 * (half_ - half_rank_ - 1); ++i) forward(0);
    for (int i = 0; i < half_rank_ + 1; ++i) forward(0), forward(1);
    for (int i = 0; i < half_ - half_rank_ - 1; ++i) {
      backward(1, Zb::kOn);
      weight();
      forward(1);
    }
  }

  void steady() {
    const bool middle = half_rank_ == half_ - 1;
    for (int i = 0; i < per_chunk_ - 2 * half_ + half_rank_ + 1; ++i) {
      // The middle ranks exchange with each other at the start, which an overlapped pair would
      // deadlock.
      if (i == 0 && middle)
        forward(0), backward(1, Zb::kOff);
      else
        pair(0, 1);
      pair(1, 0);
    }
  }

  // Backwards; from the middle of the last stretch on their weight gradients fill the bubbles.
  void drain() {
    for (int i = 0; i < half_ - half_rank_ - 1; ++i) {
      backward(1, Zb::kOff);
      pair(1, 0);
    }
    Zb zb = Zb::kOff;
    for (int i = 0; i < half_rank_ + 1; ++i) {
      if (i == (half_rank_ + 1) / 2 && half_rank_ % 2 == 1) zb = Zb::kOn;
      backward(1, zb);
      if (i == (half_rank_ + 1) / 2 && half_rank_ % 2 == 0) zb = Zb::kOn;
      backward(0, zb);
    }
    for (int i = 0; i < half_ - half_rank_ - 1; ++i) {
      weight();
      backward(0, Zb::kOn);
    }
    while (!pending_weights_.empty()) weight();
  }

  int half_, half_rank_;
  bool swapped_;
  int per_chunk_;
  int next_forward_[2] = {0, 0};
  int next_backward_[2] = {0, 0};
  std::deque<ScheduleStep> pending_weights_;
  RankSchedule s_;
};

}  // namespace

RankSchedule schedule_dualpipe(int rank, int ranks, int micro_batches) {
  RankSchedule s;
  s.stage_of_chunk = {rank, ranks - 1 - rank};
  s.first_batch_of_chunk = {0, micro_batches / 2};
  s.batches_per_chunk = micro_batches / 2;
  return DualPipe(ranks / 2, std::min(rank, ranks - 1 - rank), rank >= ranks / 2, std::move(s))
      .build();
}

RankSchedule schedule_dualpipe_v(int rank, int ranks, int micro_batches) {
  RankSchedule s;
  s.stage_of_chunk = {rank, 2 * ranks - 1 - rank};
  s.first_batch_of_chunk = {0, 0};
  s.batches_per_chunk = micro_batches;
  return DualPipe(ranks, rank, false, std::move(s)).build();
}

}  // namespace orrery
