// How a point of a grid is timed: launches captured into one CUDA graph, replayed.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/bench/grid.h"
#include "kernels/bench/measure.cuh"
#include "kernels/bench/sm_clock.h"

namespace orrery::kernels::bench {

class Stream {
 public:
  explicit Stream(bool high_priority = false) {
    int least = 0, greatest = 0;
    need(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    need(
        cudaStreamCreateWithPriority(&s_, cudaStreamNonBlocking, high_priority ? greatest : least));
  }
  ~Stream() { cudaStreamDestroy(s_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return s_; }
  void wait() const { need(cudaStreamSynchronize(s_)); }

 private:
  cudaStream_t s_ = nullptr;
};

class Timer {
 public:
  Timer() {
    need(cudaEventCreate(&begin_));
    need(cudaEventCreate(&end_));
  }
  ~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Microseconds on the GPU of what `enqueue` puts on the stream.
  template <class F>
  double operator()(cudaStream_t s, F enqueue) {
    need(cudaEventRecord(begin_, s));
    enqueue();
    need(cudaEventRecord(end_, s));
    need(cudaEventSynchronize(end_));
    float ms = 0;
    need(cudaEventElapsedTime(&ms, begin_, end_));
    return 1e3 * static_cast<double>(ms);
  }

 private:
  cudaEvent_t begin_, end_;
};

// A graph of `count` launches.
class Replay {
 public:
  template <class F>
  Replay(cudaStream_t s, int count, F launch) {
    cudaGraph_t graph = nullptr;
    need(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    Status bad;
    for (int i = 0; i < count && bad.ok(); ++i) bad.error = launch(i).error;
    const cudaError_t e = cudaStreamEndCapture(s, &graph);
    need(bad);
    need(e);
    const cudaError_t made = cudaGraphInstantiate(&exec_, graph, 0);
    cudaGraphDestroy(graph);
    need(made);
  }
  ~Replay() { cudaGraphExecDestroy(exec_); }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  void operator()(cudaStream_t s) const { need(cudaGraphLaunch(exec_, s)); }

 private:
  cudaGraphExec_t exec_ = nullptr;
};

// As Launch (measure.cuh), on the given stream.
using GridLaunch = std::function<Status(int, cudaStream_t)>;

// Launches of one kind, captured and once replayed, so that later replays allocate nothing and wait
// for nothing.
class Prepared {
 public:
  explicit Prepared(const GridLaunch& launch) {
    constexpr int kFewest = 4, kMost = 250;
    constexpr double kTarget = 2000;  // microseconds of a replay
    need(cudaDeviceSynchronize());    // buffers are filled on another stream
    for (int i = 0; i < 2; ++i) need(launch(i, stream_));
    stream_.wait();
    const double once = timer_(stream_, [&] { need(launch(0, stream_)); });
    count_ = std::clamp(static_cast<int>(std::ceil(kTarget / once)), kFewest, kMost);
    replay_ = std::make_unique<Replay>(stream_, count_, [&](int i) { return launch(i, stream_); });
    repeat();
  }

  // Microseconds of a launch among others of the same, one for each of nine replays, after replays
  // for `before_us`: tensor cores draw more than the power limit, and a GPU takes some tenths of a
  // second to lower its clock to what a training step will run at. The clock is that of the nine.
  void measure(GridPoint& p, double before_us) {
    constexpr int kRepeats = 9;
    for (double t = 0; t < before_us;) t += count_ * repeat();
    clock_.begin(stream_);
    p.us.clear();
    for (int r = 0; r < kRepeats; ++r) p.us.push_back(repeat());
    clock_.end(stream_);
    stream_.wait();
    p.sm_clock_MHz = clock_.MHz();
  }

 private:
  double repeat() {
    return timer_(stream_, [&] { (*replay_)(stream_); }) / count_;
  }

  Stream stream_;
  Timer timer_;
  SmClock clock_;
  int count_ = 1;
  std::unique_ptr<Replay> replay_;
};

// For kernels of the tensor cores, and for those that never meet the power limit.
constexpr double kUntilSteady = 300e3, kAtOnce = 0;

inline void measure(GridPoint& p, const GridLaunch& launch, double before_us = kAtOnce) {
  Prepared(launch).measure(p, before_us);
}

}  // namespace orrery::kernels::bench
