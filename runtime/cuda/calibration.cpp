#include "runtime/cuda/calibration.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <optional>

#include "kernels/bench/bench.h"
#include "kernels/bench/grid.h"
#include "runtime/cuda/device.h"
#include "runtime/cuda/factory.h"
#include "runtime/cuda/nccl_grid.h"
#include "runtime/cuda/nvml.h"

namespace orrery {
namespace {

using kernels::bench::GridPoint;
using kernels::bench::GridTask;
using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr int kTasksBetweenReferences = 20;

// Four digits are more than repeat.
double rounded(double x) {
  double unit = 1000;
  while (unit > 1 && std::abs(x) * unit >= 1e4) unit /= 10;
  return std::round(x * unit) / unit;
}

ordered_json times(const std::vector<double>& us) {
  ordered_json j = ordered_json::array();
  for (const double t : us) j.push_back(rounded(t));
  return j;
}

ordered_json to_json(const GridPoint& p) {
  ordered_json j{{"family", p.family}, {"kernel", p.kernel}};
  for (const auto& [key, value] : p.numbers) j[key] = value;
  for (const auto& [key, value] : p.words) j[key] = value;
  if (p.beside_sms > 0) j["beside_sms"] = p.beside_sms;
  if (p.beside_GBps > 0) j["beside_GBps"] = p.beside_GBps;
  j["us"] = times(p.us);
  if (p.sm_clock_MHz > 0) j["sm_clock_MHz"] = rounded(p.sm_clock_MHz);
  return j;
}

ordered_json to_json(const NcclPoint& p) {
  return {{"family", "collective"}, {"kernel", p.collective}, {"ranks", p.ranks}, {"nodes", 1},
          {"bytes", p.bytes},       {"us", times(p.us)}};
}

std::string pci_bus_id() {
  char id[32] = "";
  int device = 0;
  cuda_check(cudaGetDevice(&device), "reading the device");
  cuda_check(cudaDeviceGetPCIBusId(id, sizeof id, device), "reading the device");
  return id;
}

int gpus() {
  int n = 0;
  cuda_check(cudaGetDeviceCount(&n), "counting GPUs");
  return n;
}

std::vector<GridTask> all_tasks() {
  std::vector<GridTask> all;
  for (auto* grid :
       {kernels::bench::launch_grid, kernels::bench::memory_grid, kernels::bench::moe_grid,
        kernels::bench::gemm_grid, kernels::bench::attention_grid, kernels::bench::sharing_grid})
    for (GridTask& t : grid()) all.push_back(std::move(t));
  return all;
}

class Measurement {
 public:
  explicit Measurement(const std::function<void(int64_t, int64_t)>& progress)
      : progress_(progress), bus_(pci_bus_id()) {}

  ordered_json run() {
    const std::vector<GridTask> tasks = all_tasks();
    const auto collectives =
        gpus() > 1 ? NcclGrid::points() : std::vector<std::pair<std::string, int64_t>>{};
    total_ = static_cast<int64_t>(tasks.size() + collectives.size());
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (i % kTasksBetweenReferences == 0) reference();
      attempt(tasks[i].name, [&] {
        for (const GridPoint& p : tasks[i].run()) points_.push_back(to_json(p));
      });
    }
    reference();
    if (!collectives.empty()) measure_collectives(collectives);
    return file();
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  // A kernel that this GPU does not take is left out and told; an error that CUDA keeps ends all.
  template <class F>
  void attempt(const std::string& name, F measure) {
    try {
      measure();
    } catch (const std::exception& e) {
      const cudaError_t left = cudaDeviceSynchronize();
      if (left != cudaSuccess)
        throw Error(ExitCode::kFailure,
                    fmt::format("{}: {}, after {}", name, cudaGetErrorString(left), e.what()));
      (void)cudaGetLastError();
      skipped_.push_back(fmt::format("{}: {}", name, e.what()));
    }
    progress_(++done_, total_);
  }

  // The first time the GPU is brought to the temperature of work before, so that drift is not that
  // of its start.
  void reference() {
    constexpr int kWarmUps = 5;
    kernels::bench::Reference r;
    for (int i = 0; references_.empty() && i < kWarmUps; ++i) r.measure([] {});
    Nvml::Reading reading;
    const double us = r.measure([&] { reading = nvml_.read(bus_); });
    ordered_json j{{"at_s", rounded(elapsed())}, {"us", rounded(us)}};
    if (reading.sm_clock_MHz > 0) j["sm_clock_MHz"] = reading.sm_clock_MHz;
    if (reading.temperature_C > 0) j["temperature_C"] = reading.temperature_C;
    if (reading.power_W > 0) j["power_W"] = rounded(reading.power_W);
    references_.push_back(j);
  }

  void measure_collectives(const std::vector<std::pair<std::string, int64_t>>& collectives) {
    std::optional<NcclGrid> nccl;
    try {
      nccl.emplace();
    } catch (const Error& e) {
      skipped_.push_back(fmt::format("collectives: {}", e.what()));
      return;
    }
    for (const auto& [collective, bytes] : collectives)
      attempt(collective, [&] { points_.push_back(to_json(nccl->measure(collective, bytes))); });
  }

  ordered_json file() const {
    const kernels::bench::Machine m = kernels::bench::machine();
    ordered_json j{{"seconds", rounded(elapsed())}};
    j["device"] = {{"gpu", m.gpu},
                   {"multiprocessors", m.multiprocessors},
                   {"memory_GiB", rounded(m.memory_GiB)},
                   {"highest_sm_clock_MHz", m.sm_clock_MHz},
                   {"highest_memory_clock_MHz", m.memory_clock_MHz}};
    const double limit = nvml_.read(bus_).power_limit_W;
    if (limit > 0) j["device"]["power_limit_W"] = limit;
    j["software"] = {{"driver", nvml_.driver()},
                     {"cuda_of_driver", m.driver},
                     {"cuda", m.cuda},
                     {"cublaslt", m.cublaslt},
                     {"nccl", NcclGrid::version()}};
    j["reference"] = references_;
    j["points"] = points_;
    if (!skipped_.empty()) j["skipped"] = skipped_;
    return j;
  }

  const std::function<void(int64_t, int64_t)>& progress_;
  std::string bus_;
  Nvml nvml_;
  Clock::time_point start_ = Clock::now();
  int64_t done_ = 0, total_ = 0;
  ordered_json references_ = ordered_json::array(), points_ = ordered_json::array(),
               skipped_ = ordered_json::array();
};

}  // namespace

ordered_json measure_calibration(const std::function<void(int64_t done, int64_t total)>& progress) {
  check_gpu();
  return Measurement(progress).run();
}

}  // namespace orrery
