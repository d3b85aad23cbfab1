#include "sim/import/run_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "sim/base/file.h"
#include "sim/base/json_reader.h"
#include "sim/base/median.h"
#include "sim/base/units.h"

namespace orrery {
namespace {

std::optional<double> number(const json::Node& line, std::string_view key) {
  const json::Node* n = line.find(key);
  if (n == nullptr ||
      (n->kind != json::Node::Kind::kNumber && n->kind != json::Node::Kind::kInteger))
    return std::nullopt;
  return n->number;
}

}  // namespace

RunMetrics read_run_metrics(const std::string& path) {
  const std::string text = read_file(path, json::kMaxFileBytes);
  RunMetrics m;
  std::vector<double> steps;
  std::size_t number_of_line = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::string where = fmt::format("{}:{}", path, ++number_of_line);
    const json::Node step = json::parse_json(line, where);
    const std::optional<double> s = number(step, "step_time_s");
    if (!s)
      throw InputError({{where, "found no number \"step_time_s\"; expected metrics of a run"}});
    steps.push_back(*s * 1e6);
    if (const auto gib = number(step, "memory_GiB")) m.peak_bytes = from_gib(*gib).count();
  }
  if (steps.size() < 3) return m;
  m.steps = static_cast<int>(steps.size()) - 2;
  m.step_us = median({steps.begin() + 1, steps.end() - 1});
  return m;
}

}  // namespace orrery
