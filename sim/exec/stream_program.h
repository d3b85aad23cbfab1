// A rank class's program as its streams see it: what a backend that interleaves streams (simulator,
// verifier) builds from the driver's calls.
#pragma once

#include <vector>

#include "sim/exec/driver.h"

namespace orrery {

struct StreamInstr {
  Instr::Kind kind;
  Role role;
  uint16_t issue = 0;  // kLaunch: kernels that the host issues before it in the block
  uint32_t arg = 0;
};

struct StreamProgram {
  struct Range {
    uint32_t begin = 0, end = 0;
  };
  std::vector<StreamInstr> instrs;
  std::vector<Range> ranges;              // [block * kStreams + stream]
  std::vector<uint32_t> calls[kStreams];  // indices of the calls that have work for the stream
  std::vector<Call> call;
  std::vector<uint32_t> event_base;  // per call
  std::vector<uint32_t> issue_base;  // per call: kernels that the host issues before its first
  uint32_t slot_event_base = 0;      // of the slots' events, after those of the calls
  uint32_t events = 0;               // in all

  uint32_t event(uint32_t call_index, Role role, uint32_t arg) const {
    if (role == Role::kBlock) return event_base[call_index] + arg;
    const Call& c = call[call_index];
    const auto slot =
        static_cast<uint32_t>(role == Role::kForward ? c.forward_slot : c.backward_slot);
    return slot_event_base + slot * kSlotEvents + arg;
  }
};

// A Backend that only collects.
class StreamProgramBuilder {
 public:
  void begin_program(const RankClass& c);
  void begin_block(uint32_t) {
    for (auto& s : streams_) s.clear();
    launches_.push_back(0);
  }
  void launch(uint32_t op, StreamKind s) {
    add(s, {Instr::Kind::kLaunch, Role::kBlock, issue_of(launches_.back()++), op});
  }
  void record(uint32_t e, StreamKind s, Role r) { add(s, {Instr::Kind::kRecord, r, 0, e}); }
  void wait(uint32_t e, StreamKind s, Role r) { add(s, {Instr::Kind::kWait, r, 0, e}); }
  void alloc(uint32_t t, StreamKind s, Role r) { add(s, {Instr::Kind::kAlloc, r, 0, t}); }
  void free(uint32_t t, StreamKind s, Role r) { add(s, {Instr::Kind::kFree, r, 0, t}); }
  void end_block();
  void call(const Call& c);
  void end_program();

  StreamProgram take() { return std::move(program_); }

 private:
  static uint16_t issue_of(uint32_t n) {
    return static_cast<uint16_t>(n < UINT16_MAX ? n : UINT16_MAX);
  }
  void add(StreamKind s, StreamInstr i) { streams_[static_cast<std::size_t>(s)].push_back(i); }

  const RankClass* class_ = nullptr;
  std::vector<uint32_t> launches_;  // per block
  uint32_t issued_ = 0;
  std::vector<StreamInstr> streams_[kStreams];
  StreamProgram program_;
};

StreamProgram stream_program(const ExecPlan& plan, std::size_t rank_class);
// The same calls and events with no kAlloc and kFree.
StreamProgram without_memory(const StreamProgram& program);

}  // namespace orrery
