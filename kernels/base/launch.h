// Helpers of launch functions.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/base/status.h"

namespace orrery::kernels {

// After a launch: its error, if any, without waiting for the kernel.
inline Status launched(const char* kernel) {
  const cudaError_t e = cudaGetLastError();
  if (e == cudaSuccess) return {};
  return failed(std::string(kernel) + ": " + cudaGetErrorString(e));
}

// Multiprocessors of the current device, or `limit` of them when it is above 0.
inline Status multiprocessors(const char* name, int limit, int* sms) {
  int device = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(sms, cudaDevAttrMultiProcessorCount, device);
  if (e != cudaSuccess) return failed(std::string(name) + ": " + cudaGetErrorString(e));
  if (limit > 0) *sms = std::min(*sms, limit);
  return {};
}

inline bool aligned(const void* p, std::uintptr_t bytes = 16) {
  return reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace orrery::kernels
