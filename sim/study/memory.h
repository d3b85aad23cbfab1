// Whether a plan fits: the peak of the fullest rank against the GPU's memory, what PyTorch's
// allocator would reserve for it, and, when it does not fit, what could be changed.
#pragma once

#include <string>
#include <vector>

#include "sim/exec/trace.h"
#include "sim/memory/caching_allocator.h"
#include "sim/study/experiment.h"

namespace orrery {

// What the allocator does for one rank class in the order of its program (the host allocates ahead
// of the GPU; a tensor that several streams use is free when the last of them is enqueued). The
// weights, gradients and optimizer states come first. Periods of the schedule's regular part are
// left out once two in a row left the same bytes allocated and reserved. O(ops · log blocks).
AllocatorStats replay_allocator(const ExecPlan& plan, std::size_t rank_class,
                                const AllocatorOptions& options);

struct MemoryVerdict {
  std::size_t rank_class = 0;  // the fullest
  Bytes peak;                  // tensors, and what is reserved outside the allocator
  Bytes outside;               // of that: context, NCCL (StackSpec::reserved_GiB)
  Bytes capacity;
  AllocatorStats allocator;   // default settings
  AllocatorStats expandable;  // PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
  bool fits() const { return peak <= capacity; }
  Bytes margin() const { return capacity - peak; }
};
MemoryVerdict memory_verdict(const StudySpec& study, const StepTrace& trace);
// Fills `allocator` and `expandable`.
void replay_allocators(MemoryVerdict& verdict, const ExecPlan& plan);

// One change of the plan, simulated.
struct MemoryAdvice {
  std::string change;  // "--set /plan/micro_batch=1"
  Bytes peak;          // of the fullest rank then
  Picos step;
};
// The changes that lower the peak of a plan, the largest saving first: more recomputation,
// activations in host memory, ZeRO, a smaller micro-batch, twice the pipeline or expert
// parallelism. Each costs a simulation.
std::vector<MemoryAdvice> memory_advice(const StudySpec& study, Bytes peak);

}  // namespace orrery
