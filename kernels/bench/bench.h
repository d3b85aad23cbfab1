// Benchmarks of the kernels on the shapes of DeepSeek-V3, each beside what bounds it and beside a
// library's kernel where there is one. All need a GPU and throw std::runtime_error.
#pragma once

#include <string>
#include <vector>

namespace orrery::kernels::bench {

// What the GPU does at best, measured.
struct Ceilings {
  double copy_GBps = 0;    // device-to-device copy of 4 GiB, bytes read and written
  double bf16_TFLOPS = 0;  // cuBLASLt, 8192³
  double fp8_TFLOPS = 0;   // cuBLASLt, 8192³, one scale per tensor; 0: it declined
};
Ceilings measure_ceilings();

enum class Bound { kBf16, kFp8, kBandwidth };

struct Line {
  std::string kernel, shape;
  double us = 0;  // median of a launch
  Bound bound = Bound::kBandwidth;
  double flops = 0;        // that the result needs
  double bytes = 0;        // each input read once, each output written once
  std::string baseline;    // a library's kernel for the same; empty: none
  double baseline_us = 0;  // 0: it declined
};

// FP8 GEMMs, their gradients of weights, and those of groups; BF16 GEMMs.
std::vector<Line> bench_gemms();
std::vector<Line> bench_attention();
// Casts, norms, activations, optimizer and the like.
std::vector<Line> bench_bandwidth();

// The GPU and its software, as the driver tells.
struct Machine {
  std::string gpu;
  int multiprocessors = 0;
  double memory_GiB = 0;
  std::string driver, cuda, cublaslt;          // versions
  int sm_clock_MHz = 0, memory_clock_MHz = 0;  // highest
};
Machine machine();

}  // namespace orrery::kernels::bench
