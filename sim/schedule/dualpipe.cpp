#include <algorithm>
#include <deque>

#include "sim/schedule/schedule.h"

namespace orrery {
namespace {

// A rank sees its nearer pipeline end as phase 0; ranks of the second half see the directions
// swapped.
class DualPipe {
 public:
  DualPipe(int rank, int ranks, int micro_batches)
      : half_(ranks / 2),
        half_rank_(std::min(rank, ranks - 1 - rank)),
        ranks_(ranks),
        swapped_(rank >= ranks / 2),
        per_chunk_(micro_batches / 2) {
    s_.stage_of_chunk = {rank, ranks - 1 - rank};
    s_.batches_per_chunk = per_chunk_;
  }

  RankSchedule build() {
    warm_up();
    steady();
    drain();
    return std::move(s_);
  }

 private:
  enum class Zb : bool { kOff, kOn };
  int16_t chunk(int phase) const { return static_cast<int16_t>(swapped_ ? 1 - phase : phase); }

  void forward(int phase) {
    s_.steps.push_back({BlockKind::kForward, chunk(phase), next_forward_[phase]++});
  }
  void backward(int phase, Zb zb) {
    const int16_t batch = next_backward_[phase]++;
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
    for (int i = 0; i < per_chunk_ - ranks_ + half_rank_ + 1; ++i) {
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

  int half_, half_rank_, ranks_;
  bool swapped_;
  int per_chunk_;
  int16_t next_forward_[2] = {0, 0};
  int16_t next_backward_[2] = {0, 0};
  std::deque<ScheduleStep> pending_weights_;
  RankSchedule s_;
};

}  // namespace

RankSchedule schedule_dualpipe(int rank, int ranks, int micro_batches) {
  return DualPipe(rank, ranks, micro_batches).build();
}

RankSchedule make_schedule(const PlanSpec& plan, int rank) {
  const int ranks = static_cast<int>(plan.pipeline_parallel);
  const int batches = static_cast<int>(plan.micro_batches());
  return plan.schedule == ScheduleKind::kDualPipe ? schedule_dualpipe(rank, ranks, batches)
                                                  : schedule_1f1b(rank, ranks, batches);
}

}  // namespace orrery
