// What running an ExecPlan for one step yields, whichever backend ran it.
#pragma once

#include <array>
#include <vector>

#include "sim/graph/exec_plan.h"

namespace orrery {

// One op on one rank. Fed to reports and joined with other traces on (class, call, op).
struct OpRecord {
  Picos start, end;
  uint32_t op;    // of the plan
  uint32_t call;  // of the class
  uint16_t rank_class;
  StreamKind stream;
  // What the rank holds once the op is on its stream, when a runtime ran it; -1: not recorded (the
  // simulator has it in StepTrace::memory_timeline).
  Bytes held{-1};
};

struct MemorySample {
  Picos time;
  Bytes total;
  std::array<Bytes, kBufferKinds> by_kind;
};

// Where the time of a class's compute stream goes. The parts sum to the step exactly.
struct ClassTime {
  Picos block[kBlockKinds];  // from first to last kernel of the calls of a kind
  Picos bubble;              // waiting between calls
  // Part of `block`: the compute stream waits inside a call, by what it waits for.
  Picos exposed[kBlockKinds][kKernelClasses];
  // Part of `block` and of none of `exposed`: the compute stream waits for the host to issue what
  // runs next, or the communication that it needs (OpTiming::host).
  Picos host[kBlockKinds];
};

struct ClassMemory {
  Bytes peak;                     // static and dynamic together
  Bytes by_kind[kBufferKinds];    // at the peak
  uint32_t peak_op = UINT32_MAX;  // last op launched before the peak
  Bytes host;                     // most activations in host memory
};

struct StepTrace {
  Picos step;
  int64_t events = 0;           // of the step
  int64_t skipped_events = 0;   // of these, by fast-forward
  std::vector<ClassTime> time;  // per class (of its first rank)
  std::vector<ClassMemory> memory;
  // Per class: its compute kernels' waits for the host to issue them (SimOptions::host_issue).
  std::vector<Picos> host_wait;
  std::vector<OpRecord> records;                           // when asked for
  std::vector<std::vector<MemorySample>> memory_timeline;  // per class, when asked for
};

}  // namespace orrery
