#include <chrono>
#include <cmath>
#include <thread>

#include "kernels/attention/attention.h"
#include "kernels/bench/grid_timing.cuh"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/norm/rms_norm.h"

namespace orrery::kernels::bench {
namespace {

constexpr int kMostSms = 64;

// What the occupant and the host tell each other, in host memory that both see; a place for each
// block, since the host does not take part in a GPU's atomics.
struct Shared {
  int started[kMostSms];
  unsigned long long moved[kMostSms];  // 16-byte vectors read, and as many written
};

constexpr int kThreads = 1024;
constexpr int kSharedBytes = 160 << 10;  // no second block, nor one that stages tiles, fits beside
constexpr int kVectors = 1 << 22;        // of 16 bytes, copied from end to end
constexpr int kPart = 8 * kThreads;      // of them at a time
constexpr unsigned long long kLongest = 3'000'000'000;  // nanoseconds

// `stop` is in the GPU's memory: to look at the host's over and over would slow everything down.
__device__ bool told_to_stop(const volatile int* stop, unsigned long long start) {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return *stop != 0 || now - start > kLongest;
}

// Holds its SMs until told to stop, or for kLongest. As a collective's kernel would, it copies
// memory meanwhile (`from` not null), or it only waits.
__global__ void __launch_bounds__(kThreads)
    occupant(volatile Shared* shared, const volatile int* stop, const uint4* from, uint4* to) {
  __shared__ bool stopped;
  unsigned long long start;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  if (threadIdx.x == 0) shared->started[blockIdx.x] = 1;
  unsigned long long moved = 0;
  const int step = static_cast<int>(gridDim.x) * kPart;
  for (int at = static_cast<int>(blockIdx.x) * kPart;; at += step) {
    if (threadIdx.x == 0) stopped = told_to_stop(stop, start);
    __syncthreads();
    if (stopped) break;
    if (at + kPart > kVectors) at = static_cast<int>(blockIdx.x) * kPart;
    if (from != nullptr) {
      for (int i = static_cast<int>(threadIdx.x); i < kPart; i += kThreads)
        to[at + i] = from[at + i];
      moved += kPart;
    } else {
      __nanosleep(1000);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) shared->moved[blockIdx.x] = moved;
}

class Occupant {
 public:
  using Clock = std::chrono::steady_clock;

  Occupant(int sms, bool copies) : sms_(sms), stream_(true) {
    need(cudaHostAlloc(&shared_, sizeof(Shared), cudaHostAllocMapped));
    *shared_ = {};
    need(cudaMemset(stop_.get(), 0, sizeof(int)));
    need(cudaFuncSetAttribute(occupant, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
    need(cudaDeviceSynchronize());
    begin_ = Clock::now();
    occupant<<<static_cast<unsigned>(sms), kThreads, kSharedBytes, stream_>>>(
        shared_, stop_.get(), copies ? reinterpret_cast<const uint4*>(from_.get()) : nullptr,
        reinterpret_cast<uint4*>(to_.get()));
    need(cudaGetLastError());
    while (running() < sms_ && Clock::now() - begin_ < std::chrono::seconds(1))
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  ~Occupant() {
    cudaMemsetAsync(stop_.get(), 1, sizeof(int), other_);
    cudaStreamSynchronize(stream_);
    cudaFreeHost(shared_);
  }
  Occupant(const Occupant&) = delete;
  Occupant& operator=(const Occupant&) = delete;

  // GB/s read and written from its start to now. Throws when it did not hold its SMs all the time.
  double stop() {
    const int held = running();
    const std::chrono::duration<double> t = Clock::now() - begin_;
    need(cudaMemsetAsync(stop_.get(), 1, sizeof(int), other_));
    need(cudaStreamSynchronize(stream_));
    if (held < sms_ || t.count() * 1e9 > 0.95 * static_cast<double>(kLongest))
      throw std::runtime_error("the kernel beside did not run all the time");
    double moved = 0;
    for (int b = 0; b < sms_; ++b) moved += static_cast<double>(shared_->moved[b]);
    return 32e-9 * moved / t.count();
  }

 private:
  int running() const {
    int n = 0;
    for (int b = 0; b < sms_; ++b) n += const_cast<volatile Shared*>(shared_)->started[b];
    return n;
  }

  int sms_;
  Stream stream_, other_;
  Buffer<int> stop_{1};
  Buffer<uint8_t> from_{int64_t{16} * kVectors}, to_{int64_t{16} * kVectors};
  Shared* shared_ = nullptr;
  Clock::time_point begin_;
};

// The point beside occupants that wait, and that copy.
std::vector<GridPoint> beside(GridPoint p, const GridLaunch& launch, double before_us) {
  constexpr int kTaken[] = {8, 20, 40};
  std::vector<GridPoint> points;
  Prepared prepared(launch);
  for (const bool copies : {false, true})
    for (const int sms : kTaken) {
      Occupant o(sms, copies);
      prepared.measure(p, before_us);
      p.beside_GBps = std::round(o.stop());
      p.beside_sms = sms;
      points.push_back(p);
    }
  return points;
}

std::vector<GridPoint> gemm() {
  constexpr int64_t kM = 4096, kN = 7168, kK = 7168;
  const Buffer<uint8_t> workspace(32 << 20);
  GemmContext context(workspace.get(), 32 << 20);
  const Buffer<bf16> a(kM * kK, 1), b(kN * kK, 2), c(kM * kN);
  GemmBf16Params p;
  p.m = kM, p.n = kN, p.k = p.lda = p.ldb = kK, p.ldc = kN;
  p.a = a.get(), p.b = b.get(), p.c = c.get();
  GridPoint point;
  point.family = "gemm_bf16", point.kernel = "cuBLASLt";
  point.numbers = {{"m", kM}, {"n", kN}, {"k", kK}};
  return beside(
      point, [&](int, cudaStream_t s) { return gemm_bf16(context, p, s); }, kUntilSteady);
}

std::vector<GridPoint> attention() {
  const AttentionShape s{1, 4096, 64, 64, 192, 128};
  const int64_t ldq = s.heads * s.d_qk, ldo = s.heads * s.d_v;
  const Buffer<bf16> q(s.tokens() * ldq, 1), k(s.tokens() * ldq, 2), v(s.tokens() * ldo, 3);
  const Buffer<bf16> out(s.tokens() * ldo);
  const Buffer<float> lse(s.tokens() * s.heads);
  AttentionForwardParams f;
  f.shape = s, f.scale = 1 / std::sqrt(static_cast<float>(s.d_qk));
  f.q = q.get(), f.ldq = ldq, f.k = k.get(), f.ldk = ldq, f.v = v.get(), f.ldv = ldo;
  f.out = out.get(), f.ldo = ldo, f.lse = lse.get();
  GridPoint point;
  point.family = "attention_forward", point.kernel = "own";
  point.numbers = {{"batch", s.batch}, {"heads", s.heads}, {"kv_heads", s.kv_heads},
                   {"length", s.seq},  {"d_qk", s.d_qk},   {"d_v", s.d_v}};
  return beside(
      point, [&](int, cudaStream_t st) { return attention_forward(f, st); }, kUntilSteady);
}

std::vector<GridPoint> memory() {
  constexpr int64_t kRows = 8192, kCols = 7168, kN = kRows * kCols;
  const Buffer<bf16> x(kN), y(kN, 2), out(kN), weight(kCols);
  GridPoint point;
  point.family = "memory_bound";
  point.kernel = "add";
  point.words = {{"pattern", "stream"}};
  point.numbers = {{"bytes", 6 * kN}};
  std::vector<GridPoint> points = beside(
      point,
      [&](int, cudaStream_t s) {
        return add({kN, {x.get(), y.get()}, 2, out.get()}, s);
      },
      kAtOnce);
  RmsNormParams p;
  p.rows = kRows, p.cols = kCols, p.x = x.get(), p.weight = weight.get(), p.eps = 1e-6F;
  p.out = out.get();
  point.kernel = "rms_norm";
  point.words = {{"pattern", "row_reduce"}};
  point.numbers = {{"bytes", 4 * kN}};
  for (const GridPoint& g : beside(
           point, [&](int, cudaStream_t s) { return rms_norm(p, s); }, kAtOnce))
    points.push_back(g);
  return points;
}

}  // namespace

std::vector<GridTask> sharing_grid() {
  return {{"gemm beside", gemm}, {"attention beside", attention}, {"memory beside", memory}};
}

}  // namespace orrery::kernels::bench
