// The points of a sweep as a table, JSON, JSON lines or CSV.
#pragma once

#include <string>
#include <vector>

#include "sim/study/sweep.h"

namespace orrery {

std::string sweep_text(const SweepSpec& spec, const std::vector<SweepPoint>& points);
std::string sweep_json(const SweepSpec& spec, const std::vector<SweepPoint>& points);
std::string sweep_jsonl(const SweepSpec& spec, const std::vector<SweepPoint>& points);
std::string sweep_csv(const SweepSpec& spec, const std::vector<SweepPoint>& points);

}  // namespace orrery
