#include <algorithm>
#include <vector>

#include "kernels/bench/measure.cuh"
#include "kernels/bench/sm_clock.h"

namespace orrery::kernels::bench {
namespace {

// readings[i]: of multiprocessor i; those that get no block keep what they had.
__global__ void read_clocks(ClockReading* readings) {
  uint32_t sm;
  int64_t ns;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
  readings[sm] = {static_cast<int64_t>(clock64()), ns};
}

std::size_t bytes(int readings) {
  return static_cast<std::size_t>(readings) * sizeof(ClockReading);
}

}  // namespace

SmClock::SmClock() {
  int device = 0;
  need(cudaGetDevice(&device));
  need(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device));
  need(cudaMalloc(&readings_, bytes(2 * multiprocessors_)));
  need(cudaMemset(readings_, 0, bytes(2 * multiprocessors_)));
}

SmClock::~SmClock() { cudaFree(readings_); }

void SmClock::begin(cudaStream_t s) {
  read_clocks<<<static_cast<uint32_t>(multiprocessors_), 1, 0, s>>>(readings_);
  need(cudaGetLastError());
}

void SmClock::end(cudaStream_t s) {
  read_clocks<<<static_cast<uint32_t>(multiprocessors_), 1, 0, s>>>(readings_ + multiprocessors_);
  need(cudaGetLastError());
}

double SmClock::MHz() const {
  const auto n = static_cast<std::size_t>(multiprocessors_);
  std::vector<ClockReading> all(2 * n);
  need(cudaMemcpy(all.data(), readings_, bytes(2 * multiprocessors_), cudaMemcpyDeviceToHost));
  std::vector<double> clocks;
  for (std::size_t i = 0; i < n; ++i) {
    const ClockReading &from = all[i], &to = all[n + i];
    if (from.ns == 0 || to.ns <= from.ns) continue;
    clocks.push_back(1e3 * static_cast<double>(to.cycles - from.cycles) /
                     static_cast<double>(to.ns - from.ns));
  }
  if (clocks.empty()) return 0;
  const auto middle = clocks.begin() + static_cast<std::ptrdiff_t>(clocks.size() / 2);
  std::nth_element(clocks.begin(), middle, clocks.end());
  return *middle;
}

}  // namespace orrery::kernels::bench
