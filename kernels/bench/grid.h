// Grids of measurements for the calibration of a GPU: the project's kernels and cuBLASLt's over the
// shapes of training, memory-bound kernels by access pattern, launches, and kernels beside others.
// All need a GPU and throw std::runtime_error.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace orrery::kernels::bench {

struct GridPoint {
  std::string family, kernel;
  std::vector<std::pair<std::string, int64_t>> numbers;    // of the shape: {"m", 4096}, ...
  std::vector<std::pair<std::string, std::string>> words;  // {"pattern", "cast"}, ...
  std::vector<double> us;                                  // of a launch, one for each repeat
  double sm_clock_MHz = 0;                                 // during the repeats; 0: not read
  int64_t beside_sms = 0;                                  // that another kernel holds
  double beside_GBps = 0;                                  // that it reads and writes
};

// Measures and returns the points that belong together; owns its buffers while it runs.
struct GridTask {
  std::string name;
  std::function<std::vector<GridPoint>()> run;
};

std::vector<GridTask> gemm_grid();
std::vector<GridTask> attention_grid();
std::vector<GridTask> memory_grid();
std::vector<GridTask> moe_grid();
std::vector<GridTask> launch_grid();
std::vector<GridTask> sharing_grid();

// cuBLASLt's BF16 product of 8192³, over and over: what heat and the power limit slow down.
class Reference {
 public:
  Reference();
  ~Reference();
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;

  // Microseconds of a launch, the median over a few. `during` is called while the GPU is busy.
  double measure(const std::function<void()>& during);

 private:
  struct State;
  State* state_;
};

}  // namespace orrery::kernels::bench
