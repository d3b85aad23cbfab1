// CUDA handles that close themselves, and errors as exceptions.
#pragma once

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "kernels/base/status.h"
#include "sim/base/error.h"
#include "sim/base/units.h"

namespace orrery {

// A failed CUDA call. Out of memory is Infeasible, everything else a failure.
inline void cuda_check(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return;
  throw Error(e == cudaErrorMemoryAllocation ? ExitCode::kInfeasible : ExitCode::kFailure,
              fmt::format("{}: {} ({})", what, cudaGetErrorString(e), cudaGetErrorName(e)));
}

// Says how much is missing, since that tells what to change.
inline void* allocate_device(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t e = cudaMalloc(&data, bytes);
  if (e != cudaErrorMemoryAllocation) {
    cuda_check(e, "allocating device memory");
    return data;
  }
  std::size_t free = 0, total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), "reading free memory");
  const auto in_gib = [](std::size_t n) { return gib(Bytes(static_cast<int64_t>(n))); };
  throw Error(ExitCode::kInfeasible,
              fmt::format("out of memory: the plan asks for {:.2f} GiB more, and {:.2f} of the "
                          "GPU's {:.2f} GiB are free; `orrery predict` shows where the memory goes",
                          in_gib(bytes), in_gib(free), in_gib(total)));
}

inline void launch_check(const kernels::Status& s) {
  if (!s.ok()) throw Error(ExitCode::kInternal, s.error);
}

class CudaStream {
 public:
  // High-priority streams are for communication: their kernels start as soon as an SM is free.
  explicit CudaStream(bool high_priority = false) {
    int least = 0, greatest = 0;
    cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities");
    cuda_check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                            high_priority ? greatest : least),
               "creating a stream");
  }
  CudaStream(CudaStream&& o) noexcept : stream_(std::exchange(o.stream_, nullptr)) {}
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }
  cudaStream_t get() const { return stream_; }
  void synchronise() const { cuda_check(cudaStreamSynchronize(stream_), "waiting for a stream"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaEvent {
 public:
  explicit CudaEvent(bool timing = false) {
    cuda_check(
        cudaEventCreateWithFlags(&event_, timing ? cudaEventDefault : cudaEventDisableTiming),
        "creating an event");
  }
  CudaEvent(CudaEvent&& o) noexcept : event_(std::exchange(o.event_, nullptr)) {}
  CudaEvent& operator=(CudaEvent&& o) noexcept {
    std::swap(event_, o.event_);
    return *this;
  }
  CudaEvent(const CudaEvent&) = delete;
  ~CudaEvent() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Done when it returns: from pageable memory, cudaMemcpy may leave the last part under way, and the
// streams of the plan do not wait for it.
inline void copy_to_device(void* to, const void* from, std::size_t bytes, const char* what) {
  cuda_check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), what);
  cuda_check(cudaDeviceSynchronize(), what);
}

// Page-locked host memory, for copies that do not stop the host.
template <class T>
class PinnedArray {
 public:
  explicit PinnedArray(std::size_t n) : size_(n) {
    cuda_check(cudaMallocHost(&data_, n * sizeof(T)), "allocating pinned memory");
  }
  PinnedArray(const PinnedArray&) = delete;
  PinnedArray& operator=(const PinnedArray&) = delete;
  ~PinnedArray() { cudaFreeHost(data_); }
  T* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

// Memory held for as long as the object lives.
class DeviceArray {
 public:
  enum class Clear : uint8_t { kYes, kNo };

  DeviceArray() = default;
  // Cleared memory is clear when the constructor returns: streams do not wait for each other here.
  explicit DeviceArray(std::size_t bytes, Clear clear = Clear::kYes) : bytes_(bytes) {
    if (bytes == 0) return;
    data_ = allocate_device(bytes);
    if (clear == Clear::kNo) return;
    cuda_check(cudaMemset(data_, 0, bytes), "clearing device memory");
    cuda_check(cudaDeviceSynchronize(), "clearing device memory");
  }
  DeviceArray(DeviceArray&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  DeviceArray& operator=(DeviceArray&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() {
    if (data_ != nullptr) cudaFree(data_);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Optimizer states: on the device, or page-locked in host memory. Zero at first.
class StateArray {
 public:
  StateArray() = default;
  StateArray(std::size_t bytes, bool on_host) : bytes_(bytes) {
    if (bytes == 0) return;
    if (!on_host) {
      device_ = DeviceArray(bytes);
      return;
    }
    host_ = std::make_unique<PinnedArray<char>>(bytes);
    std::memset(host_->data(), 0, bytes);
  }
  // Null when there are no bytes. Of the host or the device, which cudaMemcpyDefault tells apart.
  char* data() const { return host_ != nullptr ? host_->data() : device_.as<char>(); }
  std::size_t bytes() const { return bytes_; }
  std::size_t device_bytes() const { return device_.bytes(); }
  // Both wait for the copy.
  void write(const void* from, const char* what) const { copy(data(), from, what); }
  void read(void* to, const char* what) const { copy(to, data(), what); }

 private:
  void copy(void* to, const void* from, const char* what) const {
    cuda_check(cudaMemcpy(to, from, bytes_, cudaMemcpyDefault), what);
    cuda_check(cudaDeviceSynchronize(), what);
  }

  std::size_t bytes_ = 0;
  DeviceArray device_;
  std::unique_ptr<PinnedArray<char>> host_;
};

}  // namespace orrery
