// What the driver says of a GPU while it works, through libnvidia-ml, which is opened at run time:
// machines without it still measure, and their files lack these figures.
#pragma once

#include <string>

namespace orrery {

class Nvml {
 public:
  Nvml();
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // Of the CUDA device with this PCI bus id ("0000:0a:00.0"). 0 or "" where it is not told.
  struct Reading {
    double sm_clock_MHz = 0, temperature_C = 0, power_W = 0, power_limit_W = 0;
  };
  Reading read(const std::string& pci_bus_id) const;
  std::string driver() const;  // "580.82.07"

 private:
  void* library_ = nullptr;
};

}  // namespace orrery
