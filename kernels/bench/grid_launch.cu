#include <chrono>

#include "kernels/bench/grid_timing.cuh"

namespace orrery::kernels::bench {
namespace {

constexpr int kKernels = 200;
constexpr int kThreads = 128;

__global__ void empty_kernel() {}

// Holds the stream while the host enqueues what follows.
__global__ void delay_kernel(int64_t ns) {
  uint64_t start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  while (static_cast<int64_t>(now - start) < ns);
}

// When the first of a kernel's threads ran, and the last, in nanoseconds.
__global__ void stamp_kernel(unsigned long long* first, unsigned long long* last) {
  if (threadIdx.x != 0) return;
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  atomicMin(first, now);
  atomicMax(last, now);
}

int multiprocessors() {
  int device = 0, count = 0;
  need(cudaGetDevice(&device));
  need(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

GridPoint point(const char* kernel) {
  GridPoint p;
  p.family = "launch", p.kernel = kernel;
  return p;
}

std::vector<GridPoint> in_graph() {
  const int sms = multiprocessors();
  GridPoint p = point("graph");
  measure(p, [&](int, cudaStream_t s) {
    empty_kernel<<<sms, kThreads, 0, s>>>();
    return Status{};
  });
  return {p};
}

// Launches that wait on the stream when the GPU gets to them, and what each cost the host.
std::vector<GridPoint> in_stream() {
  constexpr int kRepeats = 9;
  constexpr int64_t kDelay = 4'000'000;
  const int sms = multiprocessors();
  const Stream s;
  cudaEvent_t begin, end;
  need(cudaEventCreate(&begin));
  need(cudaEventCreate(&end));
  GridPoint stream = point("stream"), host = point("host");
  for (int r = 0; r <= kRepeats; ++r) {
    delay_kernel<<<1, 1, 0, s>>>(kDelay);
    need(cudaEventRecord(begin, s));
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kKernels; ++i) empty_kernel<<<sms, kThreads, 0, s>>>();
    const std::chrono::duration<double, std::micro> issued =
        std::chrono::steady_clock::now() - start;
    need(cudaEventRecord(end, s));
    need(cudaEventSynchronize(end));
    float ms = 0;
    need(cudaEventElapsedTime(&ms, begin, end));
    if (r == 0) continue;
    stream.us.push_back(1e3 * static_cast<double>(ms) / kKernels);
    host.us.push_back(issued.count() / kKernels);
  }
  need(cudaEventDestroy(begin));
  need(cudaEventDestroy(end));
  return {stream, host};
}

// Of a graph, the mean time from the last thread of a kernel to the first of the next. The timer
// ticks coarsely; over many kernels that evens out.
std::vector<GridPoint> idle() {
  constexpr int kRepeats = 9;
  const int sms = multiprocessors();
  const Stream s;
  const Buffer<unsigned long long> first(kKernels), last(kKernels);
  const Replay replay(s, kKernels, [&](int i) {
    stamp_kernel<<<sms, kThreads, 0, s>>>(first.get() + i, last.get() + i);
    return Status{};
  });
  GridPoint p = point("idle");
  std::vector<unsigned long long> begins(kKernels), ends(kKernels);
  for (int r = 0; r <= kRepeats; ++r) {
    need(cudaMemsetAsync(first.get(), 0xff, sizeof(unsigned long long) * kKernels, s));
    need(cudaMemsetAsync(last.get(), 0, sizeof(unsigned long long) * kKernels, s));
    replay(s);
    s.wait();
    need(cudaMemcpy(begins.data(), first.get(), sizeof(begins[0]) * kKernels,
                    cudaMemcpyDeviceToHost));
    need(cudaMemcpy(ends.data(), last.get(), sizeof(ends[0]) * kKernels, cudaMemcpyDeviceToHost));
    double sum = 0;
    for (std::size_t i = 1; i < kKernels; ++i)
      sum += static_cast<double>(begins[i]) - static_cast<double>(ends[i - 1]);
    if (r > 0) p.us.push_back(std::max(1e-3, sum / (kKernels - 1) * 1e-3));
  }
  return {p};
}

}  // namespace

std::vector<GridTask> launch_grid() {
  return {{"graph", in_graph}, {"stream", in_stream}, {"idle", idle}};
}

}  // namespace orrery::kernels::bench
