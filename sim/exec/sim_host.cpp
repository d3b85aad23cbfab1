#include "sim/exec/sim_host.h"

namespace orrery {
namespace {

// `i` after what comes next has been issued.
void follow(HostProgram::Issue& i, const HostProgram::Issue& next) {
  i.time = next.read_backs > 0 ? next.time : i.time + next.time;
  i.read_backs += next.read_backs;
}

}  // namespace

HostProgram::HostProgram(const RankClass& c, const PlanTiming& timing) {
  std::vector<Issue> blocks;
  for (const Block& b : c.blocks) {
    first_.push_back(static_cast<uint32_t>(launches_.size()));
    Issue i;
    for (const Instr& x : b.instrs) {
      if (x.kind != Instr::Kind::kLaunch) continue;
      const OpTiming& t = timing[x.arg];
      i.time += t.host;
      launches_.push_back(i);
      if (t.read_back > Picos(0)) follow(i, {1, Picos(0)});
    }
    blocks.push_back(i);
  }
  Issue i;
  for (const Call& call : c.calls) {
    calls_.push_back(i);
    follow(i, blocks[call.block]);
  }
  calls_.push_back(i);
}

}  // namespace orrery
