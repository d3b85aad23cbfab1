// What single memory-bound kernels of the runtime reach, for a profile of its stack: a GPU profile
// has one constant for all kernels of an access pattern.
//
// Of each kernel: time = fixed_us + bytes / (HBM bandwidth * hbm_efficiency), fitted as the classes
// of calibrate.h are. A kernel with fewer than four points is left out.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/calibrate/calibrate.h"

namespace orrery {

struct KernelRateFit {
  std::vector<std::string> kinds;  // of operators (op_kind_name) that the runtime runs with it
  double hbm_efficiency = 0, fixed_us = 0;
  ClassFit fit;
};

// `gpu`: with the measured constants, which `base_us` of the fits' points are then of.
std::vector<KernelRateFit> fit_kernel_rates(const Measured& measured, const GpuSpec& gpu);

// {"extends": base, "name": .., "kernel_rates": ..}; null without rates.
nlohmann::ordered_json stack_profile(const std::vector<KernelRateFit>& rates, const Measured& m,
                                     const std::string& base, const std::string& run);

}  // namespace orrery
