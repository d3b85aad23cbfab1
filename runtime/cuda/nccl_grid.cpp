#include "runtime/cuda/nccl_grid.h"

#include <fmt/format.h>
#include <nccl.h>

#include <algorithm>

#include "runtime/cuda/device.h"

namespace orrery {
namespace {

void need(ncclResult_t r, const char* what) {
  if (r != ncclSuccess)
    throw Error(ExitCode::kFailure, fmt::format("NCCL, {}: {} ({})", what, ncclGetErrorString(r),
                                                ncclGetLastError(nullptr)));
}

std::size_t count(int64_t n) { return static_cast<std::size_t>(n); }

constexpr int64_t kLargest = int64_t{1} << 30;

}  // namespace

struct NcclGrid::State {
  struct Gpu {
    ncclComm_t comm = nullptr;
    CudaStream stream;
    CudaEvent begin{true}, end{true};
    DeviceArray send, receive;
  };
  std::vector<Gpu> gpus;

  // One call on every GPU, in one group.
  void call(const std::string& collective, int64_t bytes);
  // Microseconds of a call, the slowest GPU's.
  double timed(const std::string& collective, int64_t bytes, int calls);
};

NcclGrid::NcclGrid() : state_(new State) {
  int n = 0;
  cuda_check(cudaGetDeviceCount(&n), "counting GPUs");
  std::vector<ncclComm_t> comms(count(n));
  need(ncclCommInitAll(comms.data(), n, nullptr), "connecting all GPUs");
  for (int i = 0; i < n; ++i) {
    cuda_check(cudaSetDevice(i), "choosing a GPU");
    State::Gpu& g = state_->gpus.emplace_back();
    g.comm = comms[count(i)];
    g.send = DeviceArray(count(kLargest));
    g.receive = DeviceArray(count(kLargest));
  }
  cuda_check(cudaSetDevice(0), "choosing a GPU");
}

NcclGrid::~NcclGrid() {
  for (std::size_t i = 0; i < state_->gpus.size(); ++i) {
    cudaSetDevice(static_cast<int>(i));
    ncclCommDestroy(state_->gpus[i].comm);
  }
  delete state_;
  cudaSetDevice(0);
}

std::vector<std::pair<std::string, int64_t>> NcclGrid::points() {
  std::vector<std::pair<std::string, int64_t>> all;
  for (const char* c : {"all_reduce", "reduce_scatter", "all_gather", "all_to_all", "send_recv"})
    for (int power = 10; power <= 30; power += 2) all.emplace_back(c, int64_t{1} << power);
  return all;
}

void NcclGrid::State::call(const std::string& collective, int64_t bytes) {
  const auto n = static_cast<int64_t>(gpus.size());
  const std::size_t whole = count(bytes / 2), part = count(bytes / 2 / n);  // BF16
  need(ncclGroupStart(), "a group");
  for (int64_t i = 0; i < n; ++i) {
    Gpu& g = gpus[count(i)];
    const cudaStream_t s = g.stream.get();
    const auto* from = g.send.as<char>();
    auto* to = g.receive.as<char>();
    if (collective == "all_reduce")
      need(ncclAllReduce(from, to, whole, ncclBfloat16, ncclSum, g.comm, s), "all-reduce");
    if (collective == "reduce_scatter")
      need(ncclReduceScatter(from, to, part, ncclBfloat16, ncclSum, g.comm, s), "reduce-scatter");
    if (collective == "all_gather")
      need(ncclAllGather(from, to, part, ncclBfloat16, g.comm, s), "all-gather");
    if (collective == "all_to_all")
      for (int64_t peer = 0; peer < n; ++peer) {
        const int p = static_cast<int>(peer);
        need(ncclSend(from + 2 * static_cast<int64_t>(part) * peer, part, ncclBfloat16, p, g.comm,
                      s),
             "send");
        need(ncclRecv(to + 2 * static_cast<int64_t>(part) * peer, part, ncclBfloat16, p, g.comm, s),
             "receive");
      }
    if (collective == "send_recv") {
      need(ncclSend(from, whole, ncclBfloat16, static_cast<int>((i + 1) % n), g.comm, s), "send");
      need(ncclRecv(to, whole, ncclBfloat16, static_cast<int>((i + n - 1) % n), g.comm, s),
           "receive");
    }
  }
  need(ncclGroupEnd(), "a group");
}

double NcclGrid::State::timed(const std::string& collective, int64_t bytes, int calls) {
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    cuda_check(cudaSetDevice(static_cast<int>(i)), "choosing a GPU");
    cuda_check(cudaEventRecord(gpus[i].begin.get(), gpus[i].stream.get()), "timing");
  }
  for (int c = 0; c < calls; ++c) call(collective, bytes);
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    cuda_check(cudaSetDevice(static_cast<int>(i)), "choosing a GPU");
    cuda_check(cudaEventRecord(gpus[i].end.get(), gpus[i].stream.get()), "timing");
  }
  double slowest = 0;
  for (Gpu& g : gpus) {
    g.stream.synchronise();
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, g.begin.get(), g.end.get()), "timing");
    slowest = std::max(slowest, 1e3 * static_cast<double>(ms) / calls);
  }
  return slowest;
}

NcclPoint NcclGrid::measure(const std::string& collective, int64_t bytes) {
  constexpr int kRepeats = 7;
  NcclPoint p{collective, static_cast<int64_t>(state_->gpus.size()), bytes, {}};
  const int calls = bytes <= (1 << 20) ? 50 : bytes <= (1 << 26) ? 20 : 5;
  for (int r = 0; r <= kRepeats; ++r) {
    const double us = state_->timed(collective, bytes, r == 0 ? 3 : calls);
    if (r > 0) p.us.push_back(us);
  }
  cuda_check(cudaSetDevice(0), "choosing a GPU");
  return p;
}

std::string NcclGrid::version() {
  int v = 0;
  need(ncclGetVersion(&v), "its version");
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

}  // namespace orrery
