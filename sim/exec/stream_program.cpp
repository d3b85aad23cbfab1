#include "sim/exec/stream_program.h"

namespace orrery {

void StreamProgramBuilder::begin_program(const RankClass& c) { class_ = &c; }

void StreamProgramBuilder::end_block() {
  for (const auto& s : streams_) {
    const auto begin = static_cast<uint32_t>(program_.instrs.size());
    program_.instrs.insert(program_.instrs.end(), s.begin(), s.end());
    program_.ranges.push_back({begin, static_cast<uint32_t>(program_.instrs.size())});
  }
}

void StreamProgramBuilder::call(const Call& c) {
  const auto index = static_cast<uint32_t>(program_.call.size());
  program_.call.push_back(c);
  program_.event_base.push_back(program_.events);
  program_.issue_base.push_back(issued_);
  issued_ += launches_[c.block];
  program_.events += class_->blocks[c.block].events;
  for (uint32_t s = 0; s < kStreams; ++s) {
    const StreamProgram::Range r = program_.ranges[c.block * kStreams + s];
    if (r.begin != r.end) program_.calls[s].push_back(index);
  }
}

void StreamProgramBuilder::end_program() {
  program_.slot_event_base = program_.events;
  program_.events += static_cast<uint32_t>(class_->slots()) * kSlotEvents;
}

StreamProgram without_memory(const StreamProgram& program) {
  StreamProgram out = program;
  out.instrs.clear();
  for (StreamProgram::Range& r : out.ranges) {
    const auto begin = static_cast<uint32_t>(out.instrs.size());
    for (uint32_t i = r.begin; i < r.end; ++i) {
      const StreamInstr& x = program.instrs[i];
      if (x.kind != Instr::Kind::kAlloc && x.kind != Instr::Kind::kFree) out.instrs.push_back(x);
    }
    r = {begin, static_cast<uint32_t>(out.instrs.size())};
  }
  return out;
}

StreamProgram stream_program(const ExecPlan& plan, std::size_t rank_class) {
  StreamProgramBuilder builder;
  run_program(builder, plan, rank_class);
  return builder.take();
}

}  // namespace orrery
