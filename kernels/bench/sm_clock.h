// The multiprocessors' clock while other kernels ran, from their own counters.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace orrery::kernels::bench {

struct ClockReading {
  int64_t cycles, ns;
};

// begin() and end() enqueue. Throws std::runtime_error.
class SmClock {
 public:
  SmClock();
  ~SmClock();
  SmClock(const SmClock&) = delete;
  SmClock& operator=(const SmClock&) = delete;

  void begin(cudaStream_t s);
  void end(cudaStream_t s);
  // Once both have run: cycles by time between them, the median over the multiprocessors; 0 where
  // none was read twice.
  double MHz() const;

 private:
  ClockReading* readings_ = nullptr;  // of each multiprocessor at the begin, then at the end
  int multiprocessors_ = 0;
};

}  // namespace orrery::kernels::bench
