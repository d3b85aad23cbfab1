// The machine-readable report: one object with "schema_version".
#pragma once

#include <string>

#include "sim/study/predict.h"

namespace orrery {

constexpr int kSchemaVersion = 1;

std::string json_report(const Prediction& p);

// The figure of the result that a PublishedValue names ("breakdown_s/bubble"); false when the name
// is not one of them.
bool result_value(const Prediction& p, const std::string& name, double& value);

}  // namespace orrery
