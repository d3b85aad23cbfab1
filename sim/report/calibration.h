// A calibration on the terminal: errors by class of kernels, constants before and after, and what
// is wrong with the points.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "sim/calibrate/calibrate.h"
#include "sim/calibrate/collectives.h"
#include "sim/calibrate/kernel_rates.h"

namespace orrery {

std::string calibration_text(const Calibration& c, const Measured& m, const std::string& base);
std::string collectives_text(const CollectiveCalibration& c);

// {classes: [{name, base, fitted, held_out: {count, median, largest}}], constants: [{pointer, base,
// value, measured}], drift, ...}; errors as fractions.
nlohmann::ordered_json calibration_json(const Calibration& c, const Measured& m,
                                        const std::string& base);
nlohmann::ordered_json collectives_json(const CollectiveCalibration& c);

// The kernels of the runtime one by one.
std::string kernel_rates_text(const std::vector<KernelRateFit>& rates, const Measured& m);
nlohmann::ordered_json kernel_rates_json(const std::vector<KernelRateFit>& rates,
                                         const Measured& m);

}  // namespace orrery
