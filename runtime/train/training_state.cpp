#include "runtime/train/training_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sim/base/text.h"
#include "sim/spec/model_json.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

Json model_json(const ModelSpec& m) {
  Json j = Json::parse(model_to_json(m));
  j["family"] = m.family;
  return j;
}

Json layout_json(const PlanSpec& p) {
  return {{"pipeline_parallel", p.pipeline_parallel},
          {"data_parallel", p.data_parallel},
          {"tensor_parallel", p.tensor_parallel},
          {"sequence_parallel", p.splits_rows()},
          {"context_parallel", p.context_parallel},
          {"expert_parallel", p.expert_parallel},
          {"expert_tensor_parallel", p.expert_tensor_parallel},
          {"schedule", kScheduleNames[static_cast<std::size_t>(p.schedule)]},
          {"layers_per_stage", p.layers_per_stage},
          {"zero_stage", p.dp.zero_stage},
          {"shard_group", p.dp.shard_group},
          {"weights_by", p.dp.by_unit()     ? "unit"
                         : p.dp.by_bucket() ? "bucket"
                                            : "stage"},
          {"bucket_parameters", p.dp.bucket_parameters},
          {"optimizer", kOptimizerNames[static_cast<std::size_t>(p.dp.optimizer)]},
          {"precision", kPrecisionNames[static_cast<std::size_t>(p.precision)]},
          {"moments", kMomentDtypeNames[static_cast<std::size_t>(p.moments)]}};
}

Json data_json(const DataSpec& d, const PlanSpec& p) {
  Json j = {{"kind", kDataNames[static_cast<std::size_t>(d.kind)]}, {"seed", d.seed}};
  if (d.kind == DataKind::kSynthetic) j["branching"] = d.branching;
  if (d.kind == DataKind::kTokens) j["path"] = d.path;
  j["sequence_length"] = p.sequence_length;
  j["global_batch"] = p.global_batch;
  return j;
}

std::string value_text(const json::Node& n) {
  using Kind = json::Node::Kind;
  switch (n.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return n.boolean ? "true" : "false";
    case Kind::kInteger:
      return std::to_string(n.integer);
    case Kind::kNumber:
      return fmt::format("{}", n.number);
    case Kind::kString:
      return in_quotes(n.string);
    case Kind::kArray:
    case Kind::kObject:
      break;
  }
  std::vector<std::string> parts;
  for (const json::Node& item : n.items) parts.push_back(value_text(item));
  for (const auto& [key, value] : n.members) parts.push_back(key + " " + value_text(value));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

void compare(const std::string& name, const json::Node* saved, const json::Node& ours,
             std::vector<std::string>& out) {
  if (saved != nullptr && saved->kind == json::Node::Kind::kObject && ours.kind == saved->kind) {
    for (const auto& [key, value] : ours.members)
      compare(name + "/" + key, saved->find(key), value, out);
    return;
  }
  const std::string there = saved != nullptr ? value_text(*saved) : "nothing";
  const std::string here = value_text(ours);
  if (there != here)
    out.push_back(fmt::format("{}: the checkpoint has {}, this run has {}", name, there, here));
}

}  // namespace

std::string training_state_json(const std::string& experiment, const GraphConfig& config,
                                const TrainingSpec& training, const TrainingPosition& position) {
  const Json j = {{"experiment", experiment},
                  {"next_sequence", position.next_sequence},
                  {"seed", training.seed},
                  {"model", model_json(config.model)},
                  {"layout", layout_json(config.plan)},
                  {"data", data_json(training.data, config.plan)}};
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StateDifferences compare_states(const json::Node& saved, const json::Node& ours) {
  StateDifferences d;
  for (const char* part : {"model", "layout"})
    compare(part, saved.find(part), *ours.find(part), d.model_or_layout);
  compare("data", saved.find("data"), *ours.find("data"), d.data);
  return d;
}

}  // namespace orrery
