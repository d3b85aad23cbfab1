// What the benchmarks share: random data on the device, and the time of a launch.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/quant/cast.h"

namespace orrery::kernels::bench {

inline void need(cudaError_t e) {
  if (e != cudaSuccess) throw std::runtime_error(cudaGetErrorString(e));
}
inline void need(const Status& s) {
  if (!s.ok()) throw std::runtime_error(s.error);
}

// Normal-looking values: a sum of four bytes of a hash, of standard deviation 1.
template <class T>
__global__ void fill(T* x, int64_t n, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    h ^= h >> 16;
    const uint32_t sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
    x[i] = T((static_cast<float>(sum) - 510) / 148);
  }
}

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n, uint32_t seed = 1) : n_(n) {
    need(cudaMalloc(&p_, static_cast<std::size_t>(n) * sizeof(T)));
    fill<<<1024, 256>>>(p_, n, seed);
    need(cudaGetLastError());
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(p_); }
  T* get() const { return p_; }
  double bytes() const { return static_cast<double>(n_) * sizeof(T); }

 private:
  T* p_ = nullptr;
  int64_t n_;
};

// Where each of `groups` groups of `rows_each` rows begins, and the end; to: [groups + 1].
inline void fill_offsets(int64_t groups, int64_t rows_each, const Buffer<int32_t>& to) {
  std::vector<int32_t> offsets;
  for (int64_t g = 0; g <= groups; ++g) offsets.push_back(static_cast<int32_t>(g * rows_each));
  need(cudaMemcpy(to.get(), offsets.data(), offsets.size() * sizeof(int32_t),
                  cudaMemcpyHostToDevice));
}

// A quantised random matrix: 1x128 tiles, scales tile by tile; or `batch` matrices of `rows` rows
// in 128x128 blocks.
class Fp8Matrix {
 public:
  Fp8Matrix(int64_t rows, int64_t cols, uint32_t seed)
      : rows_(rows), cols_(cols), data_(rows * cols), scales_(rows * tiles(cols)) {
    const Buffer<bf16> x(rows * cols, seed);
    need(cast_rows({rows, cols, x.get(), view()}, nullptr));
    need(cudaDeviceSynchronize());
  }
  Fp8Matrix(int64_t batch, int64_t rows, int64_t cols, uint32_t seed)
      : rows_(rows),
        cols_(cols),
        data_(batch * rows * cols),
        scales_(batch * tiles(rows) * tiles(cols)) {
    const Buffer<bf16> x(batch * rows * cols, seed);
    need(cast_block({batch, rows, cols, x.get(), block()}, nullptr));
    need(cudaDeviceSynchronize());
  }
  Fp8View view() const { return {data_.get(), scales_.get(), rows_, cols_, 1, rows_}; }
  Fp8Block block() const { return {data_.get(), scales_.get(), rows_, cols_}; }

 private:
  int64_t rows_, cols_;
  Buffer<fp8> data_;
  Buffer<float> scales_;
};

// launch(i) is to take its operands from the i-th of several sets, so that they are not in the L2
// cache.
using Launch = std::function<Status(int)>;

// Median seconds of each launch among batches of launches that follow each other. The batches of
// several take turns: a GPU at its power limit slows down over time.
inline std::vector<double> seconds_of(const std::vector<Launch>& launches) {
  constexpr int kWarmUps = 3, kBatches = 9, kLaunches = 5;
  cudaEvent_t begin, end;
  need(cudaEventCreate(&begin));
  need(cudaEventCreate(&end));
  int i = 0;
  for (const Launch& launch : launches)
    for (int j = 0; j < kWarmUps; ++j) need(launch(i++));
  std::vector<std::vector<float>> ms(launches.size());
  for (int batch = 0; batch < kBatches; ++batch)
    for (std::size_t l = 0; l < launches.size(); ++l) {
      need(cudaEventRecord(begin));
      for (int j = 0; j < kLaunches; ++j) need(launches[l](i++));
      need(cudaEventRecord(end));
      need(cudaEventSynchronize(end));
      float t = 0;
      need(cudaEventElapsedTime(&t, begin, end));
      ms[l].push_back(t);
    }
  need(cudaEventDestroy(begin));
  need(cudaEventDestroy(end));
  std::vector<double> medians;
  for (std::vector<float>& m : ms) {
    std::nth_element(m.begin(), m.begin() + kBatches / 2, m.end());
    medians.push_back(static_cast<double>(m[kBatches / 2]) / kLaunches * 1e-3);
  }
  return medians;
}

inline double seconds(const Launch& launch) { return seconds_of({launch})[0]; }

// How many sets of this many bytes to take turns with.
inline int sets(double bytes) {
  constexpr double kPastL2 = 256e6;
  return bytes > kPastL2 ? 1 : static_cast<int>(kPastL2 / bytes) + 1;
}

template <class T>
using Sets = std::vector<std::unique_ptr<T>>;

}  // namespace orrery::kernels::bench
