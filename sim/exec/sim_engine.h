// The event loop: ranks ("actors") walk their stream programs; ops in flight have a finish event in
// a radix queue and are rescaled when what runs beside them changes. All events of one time stamp
// are drained before rates are looked at, so results do not depend on the order within it, nor on
// folding.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "sim/des/radix_queue.h"
#include "sim/exec/chain_memory.h"
#include "sim/exec/plan_mirror.h"
#include "sim/exec/sim_backend.h"
#include "sim/exec/sim_chains.h"
#include "sim/exec/sim_fast_forward.h"
#include "sim/exec/sim_host.h"
#include "sim/exec/stream_program.h"

namespace orrery {

constexpr int kCompute = static_cast<int>(StreamKind::kCompute);

class SimEngine {
 public:
  SimEngine(const ExecPlan& plan, const PlanTiming& timing, const SimOptions& options);
  StepTrace run();

  friend class FastForward;

 private:
  // What the loop needs of an op of the plan, small enough that all of them stay in the cache.
  struct OpInfo {
    uint32_t timing;  // of timings_
    int16_t communicator;
    uint8_t kind;  // of demand for ports_
    bool compute : 1;
    bool row_proportional : 1;
    bool wants_sms : 1;  // a kernel of communication that may have to wait for them
    SmHolder holder : 2;
  };
  static_assert(sizeof(OpInfo) == 8);
  struct Durations {
    int64_t beside[kBesideStates];
    int64_t held, read_back;  // OpTiming
  };
  struct Stream {
    uint32_t next_call = 0;  // position in StreamProgram::calls
    uint32_t call = 0;       // index of the current call
    uint32_t pos = 0, end = 0;
    uint32_t last_op = UINT32_MAX;
    bool done = false;
    bool wants_sms = false;  // its op waits for SMs
    bool holds_sms = false;  // its op has them, and waits for its peers
    Picos
        launched;  // when its last op reached the GPU: a collective's kernel waits there for peers
    Picos issued;  // when the host had issued it
    bool wants_host = false;  // its op is not issued yet,
    Picos held_since;         // since then
    Picos host_held;          // while the compute stream had nothing, see take_host_held()
    // Of the current call, by Role: where its events, tensors and reader counts start.
    uint32_t events[3] = {0, 0, 0};
    uint32_t reads[3] = {0, 0, 0};
    const HeldTensor* tensors[3] = {nullptr, nullptr, nullptr};
    BlockKind kind = BlockKind::kForward;
  };
  // Per rank.
  struct Actor {
    uint32_t program = 0;  // and class
    int64_t replica = 0;
    bool first_of_class = false;
    bool dirty = false;
    uint16_t in_flight = 0;                         // streams
    PortStates::State load = PortStates::kIdle;     // the ops in flight
    PortStates::State settled = PortStates::kIdle;  // load when their rates were last set
    Stream streams[kStreams];
    uint32_t flight[kStreams];  // of the op that runs on a stream
    ChainFlight chain;          // what the compute stream runs, when that is a chain
    HostState host;
    uint32_t launch = 0;              // number (ComputeChains) of the compute stream's last launch
    std::vector<uint16_t> events;     // kReached, and the streams that wait
    std::vector<uint8_t> reads_left;  // of tensors with several reading streams, [slot, tensor]
    // Accounting of the compute stream.
    Picos compute_until;
    uint32_t compute_call = UINT32_MAX;
    int woken_by = -1;                // stream whose event ended the last wait,
    Picos waits_since;                // which began then
    uint32_t comm_call = UINT32_MAX;  // last call that used the all-to-all or gradient stream, and
    Picos comm_since;                 // when its first op there began to move data
    Picos gradient_arrival;           // of the op on the gradient stream
    Picos gradient_wait;              // for the peers of gradient collectives, not yet accounted
    Bytes held, by_kind[kBufferKinds];
    Bytes on_host;  // activations
    uint32_t last_launched = UINT32_MAX;
    // The op of the other compute stream that waits for the SMs, and its stream; -1: none.
    int queued_stream = -1;
    uint32_t queued_op = 0;
  };
  static constexpr int32_t kAlone = -1;
  // An op in flight, kept at the (actor, stream) that completed its rendezvous; or one that waits
  // for SMs until `finish`.
  struct Flight {
    Picos start, finish;
    uint32_t op = 0;
    uint32_t epoch = 0;
    int32_t rendezvous = kAlone;  // participants; kAlone: its actor
    int64_t full = 0;             // picoseconds that it takes in all at its present rate
  };
  struct Participant {
    uint32_t actor;
    uint8_t stream;
  };
  struct Rendezvous {
    uint32_t expected = 0;
    uint32_t stands_for = 1;  // groups, with their mirror images
    std::vector<Participant> here;
  };
  struct Finish {
    uint32_t flight;
    uint32_t epoch;
  };
  static constexpr uint16_t kReached = 1u << 15;

  int64_t total_ops() const;
  void make_programs(const PlanTiming& timing);
  void make_actors();
  void make_rendezvous();
  void index_tensors();
  void make_chains();
  void index_ops(const PlanTiming& timing);
  void copy_to_images();

  void advance(uint32_t actor, int stream);
  bool next_call(Actor& a, int stream);
  void enter_call(const Actor& a, Stream& s) const;
  void reach(uint32_t actor, uint32_t event, int by);
  void launch(uint32_t actor, int stream, uint32_t op);
  bool queue_for_sms(uint32_t actor, int stream, uint32_t op);
  void meet(uint32_t actor, int stream, uint32_t op);
  void take_off(uint32_t actor, int stream, uint32_t op, int32_t rendezvous);
  void land(uint32_t flight);
  void land_on(uint32_t actor, int stream, const Flight& f);
  void flush();
  void start_flights();
  bool speed_changed(const Actor& a, int stream, PortStates::State before) const;
  void set_rate(uint32_t flight);
  Picos scaled(uint32_t flight, Picos duration) const;
  Picos host_lag(uint32_t flight);
  void join(uint32_t actor, int stream, uint32_t op, uint32_t flight);
  void count(uint32_t actor, uint8_t kind, int delta);
  int64_t full_time(uint32_t flight) const;

  // sim_sm_wait.cpp
  void admit_waiting();
  Picos sms_free_at(uint32_t actor);

  // sim_host_wait.cpp
  HostProgram::Issue issue_of(const Actor& a, const Stream& s, uint32_t instr) const;
  bool issued(uint32_t actor, int stream);
  void issue_later(uint32_t actor, int stream, Picos at);
  void issue_now(uint32_t actor, int stream);
  void read_back(uint32_t actor, Picos takes);
  uint32_t issued_end(const Actor& a, uint32_t at, uint32_t end);
  Picos take_host_held(Actor& a);

  // sim_chains.cpp
  void begin_chain(Actor& a, uint32_t launch);
  void start_chain(uint32_t flight);
  void pass_ops(uint32_t actor, uint32_t last);
  void pass_ended(uint32_t actor);
  void set_chain_rate(uint32_t flight);
  void cut_chain(uint32_t actor);
  void finish_chain(uint32_t flight, Picos finish);
  void end_chain(uint32_t actor);
  // To be called before anything happens on an actor.
  void catch_up(uint32_t actor) {
    const ChainFlight& c = actors_[actor].chain;
    if (c.flying && c.at + 1 < c.end && c.until <= now_) pass_ended(actor);
  }

  void allocate(uint32_t actor, int stream, const StreamInstr& i);
  void release(Actor& a, int stream, const StreamInstr& i);
  bool pass_memory(Actor& a, uint32_t last);
  void sample_memory(const Actor& a);
  void account(Actor& a, Picos start, Picos end);
  void account_tail(Actor& a);
  [[noreturn]] void report_stuck() const;

  // Ops of all classes that one op of an actor stands for.
  int64_t stands_for() const { return mirror_ ? 2 : 1; }
  bool simulates(uint32_t rank_class) const { return !mirror_ || mirror_->represents(rank_class); }
  bool accounts(const Actor& a) const { return a.first_of_class; }
  const StreamProgram& program(const Actor& a) const {
    return accounts(a) ? programs_[a.program] : quiet_[a.program];
  }
  ComputeChains& chains(const Actor& a) {
    return accounts(a) ? chains_[a.program] : quiet_chains_[a.program];
  }
  bool in_chain(const Actor& a) const { return a.launch != ComputeChains::kNone; }
  bool is_chain(uint32_t flight) const {
    return flight % kStreams == static_cast<uint32_t>(StreamKind::kCompute) &&
           flights_[flight].rendezvous < 0 && in_chain(actors_[flight / kStreams]);
  }
  // Time since the start of the step.
  Picos clock() const { return forward_ ? now_ + forward_->skipped() : now_; }

  const ExecPlan& plan_;
  std::vector<OpInfo> ops_;           // as plan_.ops
  std::vector<Durations> timings_;    // by PlanTiming::number
  std::optional<PlanMirror> mirror_;  // when one of two classes stands for both
  PortStates ports_;
  SimOptions options_;
  std::vector<StreamProgram> programs_;  // per class; empty where its image is simulated
  std::vector<HostProgram> host_;        // per class; empty when nothing waits for its host
  std::vector<StreamProgram> quiet_;     // the same without allocations, for ranks not accounted
  std::vector<ComputeChains> chains_, quiet_chains_;  // of these
  std::vector<ChainMemory> chain_memory_;             // of chains_
  std::vector<Actor> actors_;
  std::vector<Flight> flights_;  // [actor * kStreams + stream]
  std::vector<Rendezvous> rendezvous_;
  std::vector<int32_t> rendezvous_of_;  // [rendezvous_base_[actor] + communicator]; kAlone: none
  std::vector<uint32_t> rendezvous_base_;
  std::vector<std::vector<HeldTensor>> tensors_;  // per stage
  uint32_t tensor_stride_ = 0;
  RadixQueue<Finish> queue_;
  std::vector<uint32_t> dirty_, started_;
  std::vector<uint32_t> wanting_;  // flights of ops that want SMs from now on
  uint8_t holding_kind_[3] = {};   // of ports_, by SmHolder: one that only holds SMs
  bool sm_waits_ = false;          // any compute op lets others wait
  Picos now_;
  int64_t reported_ = 0;
  int64_t host_lags_ = 0;  // ops that waited for their host so far
  bool alone_ = false;     // every op is an event of its own
  StepTrace trace_;
  std::unique_ptr<FastForward> forward_;  // null: every event is simulated
};

}  // namespace orrery
