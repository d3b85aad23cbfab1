// The one interpreter of an ExecPlan: it walks the program of a rank class and tells a backend,
// once per block what the block does, then which blocks to call. The simulator, the verifier and
// the runtimes are backends; a block is what a CUDA runtime captures as a graph.
#pragma once

#include <concepts>

#include "sim/graph/exec_plan.h"

namespace orrery {

template <class B>
concept Backend = requires(B b, const RankClass& c, uint32_t arg, StreamKind s, Role r,
                           const Call& call) {
  b.begin_program(c);
  b.begin_block(arg);
  b.launch(arg, s);
  b.record(arg, s, r);
  b.wait(arg, s, r);
  b.alloc(arg, s, r);
  b.free(arg, s, r);
  b.end_block();
  b.call(call);
  b.end_program();
};

template <Backend B>
void run_program(B& backend, const ExecPlan& plan, std::size_t self) {
  const RankClass& c = plan.classes[self];
  backend.begin_program(c);
  for (uint32_t i = 0; i < c.blocks.size(); ++i) {
    backend.begin_block(i);
    for (const Instr& x : c.blocks[i].instrs) switch (x.kind) {
        case Instr::Kind::kLaunch:
          backend.launch(x.arg, x.stream);
          break;
        case Instr::Kind::kRecord:
          backend.record(x.arg, x.stream, x.role);
          break;
        case Instr::Kind::kWait:
          backend.wait(x.arg, x.stream, x.role);
          break;
        case Instr::Kind::kAlloc:
          backend.alloc(x.arg, x.stream, x.role);
          break;
        case Instr::Kind::kFree:
          backend.free(x.arg, x.stream, x.role);
          break;
      }
    backend.end_block();
  }
  for (const Call& call : c.calls) backend.call(call);
  backend.end_program();
}

}  // namespace orrery
