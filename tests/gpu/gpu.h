// What the GPU tests share: device buffers with canaries, random data, comparison per element.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/status.h"
#include "tests/catch.h"

namespace orrery::gpu_test {

inline void cuda_ok(cudaError_t e) {
  INFO(cudaGetErrorString(e));
  REQUIRE(e == cudaSuccess);
}

inline void launched(const kernels::Status& s) {
  INFO(s.error);
  REQUIRE(s.ok());
}

// Device memory with a canary before and after; check_canaries() fails when a kernel wrote there.
template <class T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t n) : n_(n) {
    cuda_ok(cudaMalloc(&base_, bytes() + 2 * kCanary));
    cuda_ok(cudaMemset(base_, kPattern, bytes() + 2 * kCanary));
  }
  explicit DeviceBuffer(const std::vector<T>& host) : DeviceBuffer(host.size()) { upload(host); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(base_); }

  T* get() const { return reinterpret_cast<T*>(base_ + kCanary); }
  std::size_t size() const { return n_; }
  void upload(const std::vector<T>& host) {
    REQUIRE(host.size() == n_);
    if (n_ > 0) cuda_ok(cudaMemcpy(get(), host.data(), n_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> download() const {
    std::vector<T> host(n_);
    cuda_ok(cudaDeviceSynchronize());
    if (n_ > 0) cuda_ok(cudaMemcpy(host.data(), get(), n_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }
  void check_canaries() const {
    std::vector<unsigned char> all(bytes() + 2 * kCanary);
    cuda_ok(cudaDeviceSynchronize());
    cuda_ok(cudaMemcpy(all.data(), base_, all.size(), cudaMemcpyDeviceToHost));
    for (std::size_t i = 0; i < kCanary; ++i) {
      REQUIRE(all[i] == kPattern);
      REQUIRE(all[all.size() - 1 - i] == kPattern);
    }
  }

 private:
  static constexpr std::size_t kCanary = 256;
  static constexpr unsigned char kPattern = 0xa5;
  // Rounded up, so that the canary after it starts right behind vectorised stores' granularity.
  std::size_t bytes() const { return n_ * sizeof(T); }
  std::size_t n_;
  unsigned char* base_ = nullptr;
};

// A generator with a fresh seed per run; the seed is printed when an assertion fails:
//   Random random; INFO("seed " << random.seed);
struct Random {
  uint64_t seed = std::random_device{}();
  std::mt19937_64 engine{seed};
  // Normal values rounded to BF16, as double.
  std::vector<double> normal_bf16(std::size_t n, double sigma = 1) {
    std::normal_distribution<double> d(0, sigma);
    std::vector<double> v(n);
    for (double& x : v) x = __bfloat162float(__float2bfloat16(static_cast<float>(d(engine))));
    return v;
  }
  int64_t integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine);
  }
};

inline std::vector<__nv_bfloat16> to_bf16(const std::vector<double>& v) {
  std::vector<__nv_bfloat16> out;
  out.reserve(v.size());
  for (double x : v) out.push_back(__float2bfloat16(static_cast<float>(x)));
  return out;
}
inline std::vector<double> to_double(const std::vector<__nv_bfloat16>& v) {
  std::vector<double> out;
  out.reserve(v.size());
  for (__nv_bfloat16 x : v) out.push_back(__bfloat162float(x));
  return out;
}
inline std::vector<double> to_double(const std::vector<float>& v) {
  return std::vector<double>(v.begin(), v.end());
}

constexpr double kBf16Eps = 1.0 / 256;  // largest relative error of rounding
constexpr double kE4m3Eps = 1.0 / 16;

// Every element within `absolute` + `relative`·|expected|; names the worst one.
inline void require_close(const std::vector<double>& actual, const std::vector<double>& expected,
                          double relative, double absolute) {
  REQUIRE(actual.size() == expected.size());
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double allowed = absolute + relative * std::abs(expected[i]);
    const double excess = std::abs(actual[i] - expected[i]) / allowed;
    if (!(excess <= worst)) worst = excess, at = i;
    if (std::isnan(excess)) break;
  }
  if (actual.empty()) return;
  INFO("element " << at << ": " << actual[at] << ", expected " << expected[at] << ", " << worst
                  << " of the tolerance");
  REQUIRE(worst <= 1);
}

}  // namespace orrery::gpu_test
