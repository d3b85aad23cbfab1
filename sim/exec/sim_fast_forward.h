// Skips what repeats. Pipelines fall into a steady state: some periods after the schedule's
// regular part began, every stream, event, op in flight and live buffer stands, relative to the
// clock and to the micro-batch, exactly as it stood a period (or a few) before. The engine is a
// function of that state, so it would go through the same again; FastForward compares the whole
// state, word by word, jumps as many whole cycles as every class's regular part has left, adds
// their time to the account, and the engine goes on from there. The result is that of the full
// simulation, bit for bit: nothing is assumed about the period, and when the state never repeats
// nothing is skipped.
//
// Cost of a comparison: O(streams), once a period of the first class; the live buffers are looked
// at only when what is in flight stands as it did in an earlier period, and the whole state must
// then repeat once more. So a step costs O(transient + drain), whatever the number of
// micro-batches.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "sim/exec/sim_regions.h"
#include "sim/exec/trace.h"

namespace orrery {

class SimEngine;

class FastForward {
 public:
  explicit FastForward(const ExecPlan& plan);

  // The first class's compute stream enters a call.
  void entered(uint32_t call);
  // Between time stamps: compares and perhaps jumps.
  void at_boundary(SimEngine& engine) {
    if (due_) compare(engine);
  }
  Picos skipped() const { return skipped_; }

 private:
  // Everything that decides what comes next, relative to the clock and the period.
  struct State {
    int64_t period = 0;  // number of the period
    Picos time;
    int64_t events = 0;
    int64_t host_lags = 0;
    // Per actor, of its CPU: how far ahead of the GPU it is, and HostState::held.
    std::vector<Picos> host_lead;
    std::vector<int64_t> host_held;
    std::vector<ClassTime> account;
    std::vector<int64_t> sketch;  // a part, which tells most states apart
    std::vector<int64_t> words;   // all of it; empty: not described
  };
  // Where an actor is: its region and the calls that its streams are in.
  struct Window {
    const CallRegion* region = nullptr;
    uint32_t first = 0, last = 0;
  };
  // Micro-batches of a chunk that calls from `first` on need and calls to `last` touched.
  struct Live {
    int32_t begin, end;
  };
  static constexpr std::size_t kMaxCycle = 8;  // periods

  void index_slots(const ExecPlan& plan);
  Live live(const SimEngine& e, std::size_t rank_class, const Window& w, std::size_t chunk) const;
  bool locate(const SimEngine& e);
  State sketch(const SimEngine& e);
  void describe(const SimEngine& e, State& s) const;
  void describe_actor(const SimEngine& e, std::size_t actor, std::vector<int64_t>& out) const;
  void compare(SimEngine& e);
  void describe_host(const SimEngine& e, std::size_t actor, std::vector<int64_t>& out) const;
  bool reads_back(const SimEngine& e, std::size_t actor) const;
  Picos host_lead(const SimEngine& e, std::size_t actor) const;
  bool hosts_keep_up(const SimEngine& e, const State& now, const State& then) const;
  int64_t cycles_left(const SimEngine& e, int64_t periods) const;
  void jump(SimEngine& e, const State& then, int64_t cycles);
  void move_actor(SimEngine& e, std::size_t actor, int64_t periods, Picos time) const;

  CallRegions regions_;
  // Per class, [call * chunks + chunk]: lowest micro-batch that the call or a later one refers to,
  // highest that the call or an earlier one did.
  std::vector<std::vector<int32_t>> lowest_, highest_;
  const CallRegion* region_ = nullptr;  // of the first class
  bool due_ = false;
  int64_t period_ = 0;
  std::vector<Window> windows_;  // per actor
  std::deque<State> past_;
  Picos skipped_;
};

}  // namespace orrery
