#include "runtime/train/training_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sim/base/text.h"

namespace orrery {
namespace {

using Json = nlohmann::ordered_json;

Json model_json(const ModelSpec& m) {
  Json j = {{"family", m.family},
            {"hidden", m.hidden},
            {"layers", m.layers},
            {"vocab", m.vocab},
            {"tied_embeddings", m.tied_embeddings},
            {"attention", m.attention == AttentionKind::kMla ? "mla" : "gqa"},
            {"heads", m.heads},
            {"kv_heads", m.kv_heads},
            {"qk_nope_dim", m.qk_nope_dim},
            {"qk_rope_dim", m.qk_rope_dim},
            {"v_dim", m.v_dim},
            {"q_lora_rank", m.q_lora_rank},
            {"kv_lora_rank", m.kv_lora_rank},
            {"ffn", m.ffn},
            {"dense_layers", m.dense_layers},
            {"experts", m.experts},
            {"experts_per_token", m.experts_per_token},
            {"shared_experts", m.shared_experts},
            {"expert_ffn", m.expert_ffn},
            {"expert_groups", m.expert_groups},
            {"top_groups", m.top_groups},
            {"mtp_layers", m.mtp_layers},
            {"rms_norm_eps", m.norm_eps}};
  j["router"] = {{"score", m.router.score == RouterScore::kSigmoid ? "sigmoid" : "softmax"},
                 {"norm_topk_prob", m.router.norm_topk_prob},
                 {"routed_scaling_factor", m.router.routed_scaling_factor},
                 {"bias", m.router.bias}};
  const RopeSpec& r = m.rope;
  j["rope"] = {{"theta", r.theta},
               {"kind", static_cast<int>(r.kind)},
               {"factor", r.factor},
               {"beta_fast", r.beta_fast},
               {"beta_slow", r.beta_slow},
               {"mscale", r.mscale},
               {"mscale_all_dim", r.mscale_all_dim},
               {"low_freq_factor", r.low_freq_factor},
               {"high_freq_factor", r.high_freq_factor},
               {"attention_factor", r.attention_factor},
               {"original_max_position", r.original_max_position},
               {"interleaved", r.interleaved}};
  return j;
}

Json layout_json(const PlanSpec& p) {
  return {{"pipeline_parallel", p.pipeline_parallel},
          {"data_parallel", p.data_parallel},
          {"expert_parallel", p.expert_parallel},
          {"schedule", kScheduleNames[static_cast<std::size_t>(p.schedule)]},
          {"layers_per_stage", p.layers_per_stage},
          {"zero_stage", p.zero_stage},
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
