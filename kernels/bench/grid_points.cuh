// What the grids of memory-bound kernels share: points and their buffers.
#pragma once

#include "kernels/bench/grid_timing.cuh"

namespace orrery::kernels::bench {

inline GridPoint point(const char* kernel, const char* pattern, double bytes) {
  GridPoint p;
  p.family = "memory_bound", p.kernel = kernel;
  p.words = {{"pattern", pattern}};
  p.numbers = {{"bytes", static_cast<int64_t>(bytes)}};
  return p;
}

// Of a kernel that says nothing about others of the pattern.
inline GridPoint own_point(const char* kernel, const char* pattern, double bytes) {
  GridPoint p = point(kernel, pattern, bytes);
  p.words.emplace_back("about", "kernel");
  return p;
}

// Several tensors of n elements, taken in turn so that none is in L2 when it is needed again.
template <class T>
class Turns {
 public:
  Turns(int64_t n, int count, uint32_t seed = 1) : n_(n), count_(count), all_(n * count, seed) {}
  T* operator[](int i) const { return all_.get() + n_ * (i % count_); }

 private:
  int64_t n_;
  int count_;
  Buffer<T> all_;
};

inline GridPoint measured(GridPoint p, const GridLaunch& launch) {
  measure(p, launch);
  return p;
}

}  // namespace orrery::kernels::bench
