// PyTorch profiler (Kineto) traces: the GPU kernels of one rank, by annotated segment, class and
// profiled step, and the allocator's memory where the profiler recorded it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/import/kernel_names.h"

namespace orrery {

struct MeasuredKernel {
  std::string name;
  int64_t stream = 0;
  double start_us = 0;  // from the first kernel
  double duration_us = 0;
  std::string segment;  // innermost user annotation around the launch; "" outside of any
  int layer = -1;       // how many annotations of that name began before
  int64_t step = -1;    // N of the "ProfilerStep#N" around the launch; -1: outside of any
  KernelClass cls = KernelClass::kElementwise;
  KernelFamily family = KernelFamily::kUnknown;
};

// What PyTorch's allocator held on the GPU (profile_memory=True).
struct MeasuredMemory {
  double time_us = 0;  // from the first kernel; the host's time
  int64_t allocated_bytes = 0;
};

struct MeasuredTrace {
  std::vector<MeasuredKernel> kernels;  // by start
  std::vector<MeasuredMemory> memory;   // by time
  double span_us = 0;                   // first start to last end
  std::optional<int64_t> rank;          // as torch.distributed counts them
  std::string device;                   // name of the GPU; "" when the trace has none
};

// Reads the GPU events of a Chrome JSON trace with their launches (joined on `correlation`). Throws
// InputError when the file is no such trace, holds kernels of several GPUs or an event lacks a
// field.
MeasuredTrace read_kineto(const std::string& path);

// One profiled step of a trace.
struct MeasuredStep {
  int64_t number = -1;            // -1: the trace has no steps, and all of it is taken
  int64_t first = -1, last = -1;  // steps of the trace
  // From its first kernel to the next step's; of the last step, and of a trace without steps, to
  // its last kernel's end.
  double step_us = 0;
  int64_t left_out = 0;  // kernels that are in no step
  MeasuredTrace trace;   // its kernels and memory, from its first kernel on
};
// Step `number`; by default the one of median time among those that another follows. Throws
// InputError naming the steps when it is not there.
MeasuredStep select_step(const MeasuredTrace& trace, std::optional<int64_t> number,
                         const std::string& path);

}  // namespace orrery
