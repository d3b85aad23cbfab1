#include "runtime/cuda/event_overhead.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/cuda/device.h"

namespace orrery {
namespace {

constexpr int kRepeats = 32;

double elapsed_ms(const CudaEvent& from, const CudaEvent& to) {
  float ms = 0;
  cuda_check(cudaEventElapsedTime(&ms, from.get(), to.get()), "timing an op");
  return static_cast<double>(ms);
}

}  // namespace

Picos event_overhead(cudaStream_t stream) {
  const DeviceArray word(4);
  const auto fill = [&] { cuda_check(cudaMemsetAsync(word.as<void>(), 0, 4, stream), "timing"); };
  const auto record = [&](const CudaEvent& e) {
    cuda_check(cudaEventRecord(e.get(), stream), "timing");
  };
  std::vector<CudaEvent> from, to;
  for (int i = 0; i <= kRepeats; ++i) from.emplace_back(true), to.emplace_back(true);
  for (int i = 0; i < kRepeats; ++i) {
    record(from[static_cast<std::size_t>(i)]);
    fill();
    record(to[static_cast<std::size_t>(i)]);
  }
  record(from.back());
  for (int i = 0; i < kRepeats; ++i) fill();
  record(to.back());
  cuda_check(cudaStreamSynchronize(stream), "timing");
  std::vector<double> timed;
  for (std::size_t i = 0; i < kRepeats; ++i) timed.push_back(elapsed_ms(from[i], to[i]));
  std::nth_element(timed.begin(), timed.begin() + kRepeats / 2, timed.end());
  const double alone_ms = elapsed_ms(from.back(), to.back()) / kRepeats;
  return Picos(std::llround(std::max(0.0, timed[kRepeats / 2] - alone_ms) * 1e9));
}

}  // namespace orrery
