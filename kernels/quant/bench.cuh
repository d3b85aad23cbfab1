// What the benchmarks of GEMMs and of quantisation share.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels::bench {

inline void need(cudaError_t e) {
  if (e == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(e));
  std::exit(1);
}

inline void need(const Status& s) {
  if (s.ok()) return;
  std::fprintf(stderr, "%s\n", s.error.c_str());
  std::exit(1);
}

// Normal-looking values: a sum of four bytes of a hash, of standard deviation about 1.
template <class T>
__global__ void fill(T* x, int64_t n, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    const uint32_t sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
    x[i] = T((static_cast<float>(sum) - 510) / 148);
  }
}

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n) {
    need(cudaMalloc(&p_, static_cast<std::size_t>(n) * sizeof(T)));
    fill<<<1024, 256>>>(p_, n, 12345u);
    need(cudaGetLastError());
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(p_); }
  T* get() const { return p_; }

 private:
  T* p_ = nullptr;
};

// Median seconds of a launch.
template <class Launch>
double seconds(Launch launch) {
  constexpr int kWarmUps = 3, kRuns = 20;
  cudaEvent_t begin, end;
  need(cudaEventCreate(&begin));
  need(cudaEventCreate(&end));
  std::vector<float> ms(kRuns);
  for (int i = 0; i < kWarmUps; ++i) need(launch());
  for (float& t : ms) {
    need(cudaEventRecord(begin));
    need(launch());
    need(cudaEventRecord(end));
    need(cudaEventSynchronize(end));
    need(cudaEventElapsedTime(&t, begin, end));
  }
  need(cudaEventDestroy(begin));
  need(cudaEventDestroy(end));
  std::nth_element(ms.begin(), ms.begin() + kRuns / 2, ms.end());
  return static_cast<double>(ms[kRuns / 2]) * 1e-3;
}

}  // namespace orrery::kernels::bench
