#include "runtime/cuda/nvml.h"

#include <dlfcn.h>

namespace orrery {
namespace {

// Names and values of nvml.h, which not every toolkit installs; part of the library's stable ABI.
using Device = void*;
constexpr int kSuccess = 0, kClockSm = 1, kTemperatureGpu = 0;

template <class F>
F function(void* library, const char* name) {
  return library == nullptr ? nullptr : reinterpret_cast<F>(dlsym(library, name));
}

}  // namespace

Nvml::Nvml() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
  const auto init = function<int (*)()>(library_, "nvmlInit_v2");
  if (init != nullptr && init() == kSuccess) return;
  if (library_ != nullptr) dlclose(library_);
  library_ = nullptr;
}

Nvml::~Nvml() {
  if (const auto shutdown = function<int (*)()>(library_, "nvmlShutdown")) shutdown();
  if (library_ != nullptr) dlclose(library_);
}

Nvml::Reading Nvml::read(const std::string& pci_bus_id) const {
  Reading r;
  Device device = nullptr;
  const auto handle =
      function<int (*)(const char*, Device*)>(library_, "nvmlDeviceGetHandleByPciBusId_v2");
  if (handle == nullptr || handle(pci_bus_id.c_str(), &device) != kSuccess) return r;
  using WithKind = int (*)(Device, int, unsigned*);
  using Plain = int (*)(Device, unsigned*);
  const auto with_kind = [&](const char* name, int kind) {
    unsigned value = 0;
    const auto f = function<WithKind>(library_, name);
    return f != nullptr && f(device, kind, &value) == kSuccess ? static_cast<double>(value) : 0.0;
  };
  const auto plain = [&](const char* name) {
    unsigned value = 0;
    const auto f = function<Plain>(library_, name);
    return f != nullptr && f(device, &value) == kSuccess ? static_cast<double>(value) : 0.0;
  };
  r.sm_clock_MHz = with_kind("nvmlDeviceGetClockInfo", kClockSm);
  r.temperature_C = with_kind("nvmlDeviceGetTemperature", kTemperatureGpu);
  r.power_W = plain("nvmlDeviceGetPowerUsage") / 1000;
  r.power_limit_W = plain("nvmlDeviceGetEnforcedPowerLimit") / 1000;
  return r;
}

std::string Nvml::driver() const {
  char text[96] = "";
  const auto f = function<int (*)(char*, unsigned)>(library_, "nvmlSystemGetDriverVersion");
  return f != nullptr && f(text, sizeof text) == kSuccess ? text : "";
}

}  // namespace orrery
