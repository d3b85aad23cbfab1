// PyTorch profiler (Kineto) traces: the GPU kernels of one rank, by annotated segment and class.
#pragma once

#include <string>
#include <vector>

#include "sim/graph/op.h"

namespace orrery {

struct MeasuredKernel {
  std::string name;
  int64_t stream = 0;
  double start_us = 0;  // from the first kernel
  double duration_us = 0;
  std::string segment;  // innermost user annotation around the launch; "" outside of any
  int layer = -1;       // how many annotations of that name began before
  KernelClass cls = KernelClass::kElementwise;
};

struct MeasuredTrace {
  std::vector<MeasuredKernel> kernels;  // by start
  double span_us = 0;
};

// Reads the GPU events of a Chrome JSON trace with their launches (joined on `correlation`). Throws
// InputError when the file is no such trace or an event lacks a field.
MeasuredTrace read_kineto(const std::string& path);

// The class that a kernel's name belongs to; element-wise when no pattern matches.
KernelClass kernel_class(const std::string& name);

}  // namespace orrery
