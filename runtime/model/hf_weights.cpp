#include "runtime/model/hf_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "runtime/model/hf_names.h"
#include "runtime/model/hf_values.h"
#include "runtime/model/param_shard.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::size_t kMaxNamesInWarning = 8;

std::size_t as_index(int64_t i) { return static_cast<std::size_t>(i); }

HfExperts experts_in(const SafetensorsReader& files) {
  const auto& all = files.tensors();
  const bool fused = std::any_of(all.begin(), all.end(), [](const Safetensor& t) {
    return t.name.ends_with(".mlp.experts.gate_up_proj");
  });
  return fused ? HfExperts::kFused : HfExperts::kSeparate;
}

// Compares what a folder has with what the model needs.
class TensorCheck {
 public:
  TensorCheck(const SafetensorsReader& files, const ModelSpec& model, const ExecPlan& plan)
      : files_(files), model_(model) {
    for (HfMatrix& m : hf_model_tensors(model, plan, experts_in(files)))
      needed_.emplace(m.name, std::move(m.shape));
    for (const Safetensor& t : files.tensors())
      if (!needed_.contains(t.name)) others_.push_back(t.name);
  }

  void check_needed() const {
    Diagnostics findings;
    // Comparing each name with all others is worth the time only for findings that are shown.
    std::size_t shown = 0;
    for (const auto& [name, shape] : needed_) {
      const Safetensor* t = files_.find(name);
      if (t == nullptr) {
        const std::string near = shown++ < kMaxDiagnostics ? nearest_name(name, others_) : "";
        findings.add(files_.path(),
                     fmt::format("tensor {} {} is missing{}", in_quotes(name), shape_text(shape),
                                 near.empty() ? "" : "; there is " + in_quotes(near)));
      } else if (t->shape != shape || !hf_readable(t->dtype)) {
        findings.add(t->file, fmt::format("tensor {}: found {} {}, expected BF16, F16 or F32 {}",
                                          in_quotes(name), dtype_name(t->dtype),
                                          shape_text(t->shape), shape_text(shape)));
      }
    }
    findings.throw_if_any();
  }

  std::vector<std::string> warnings() const {
    std::vector<std::string> all;
    std::vector<std::string> unknown;
    for (const std::string& name : others_) {
      const std::string_view shared = hf_shared_tensor(model_, name);
      if (!shared.empty() && !same_bytes(name, shared))
        all.push_back(fmt::format("{}: tensor {} differs from {}, which is used in its place",
                                  files_.path(), in_quotes(name), in_quotes(shared)));
      if (shared.empty() && !ignorable(name)) unknown.push_back(in_quotes(name));
    }
    if (!unknown.empty()) all.push_back(left_out(unknown));
    return all;
  }

 private:
  bool ignorable(const std::string& name) const {
    if (name.ends_with("rotary_emb.inv_freq")) return true;
    if (name == "lm_head.weight") return model_.tied_embeddings;
    const int64_t layer = hf_layer(name);
    return model_.mtp_layers == 0 && layer >= model_.layers &&
           files_.find(fmt::format("model.layers.{}.eh_proj.weight", layer)) != nullptr;
  }

  bool same_bytes(std::string_view a, std::string_view b) const {
    const Safetensor& x = files_.at(a);
    const Safetensor& y = files_.at(b);
    return x.dtype == y.dtype && std::ranges::equal(x.data, y.data);
  }

  std::string left_out(std::vector<std::string> names) const {
    const std::size_t count = names.size();
    if (count > kMaxNamesInWarning) {
      names.resize(kMaxNamesInWarning);
      names.push_back(fmt::format("{} more", count - kMaxNamesInWarning));
    }
    return fmt::format("{}: {} not part of the model: {}", files_.path(),
                       count == 1 ? "1 tensor is" : fmt::format("{} tensors are", count),
                       join_words(std::vector<std::string_view>(names.begin(), names.end())));
  }

  const SafetensorsReader& files_;
  const ModelSpec& model_;
  std::map<std::string, std::vector<int64_t>> needed_;
  std::vector<std::string> others_;
};

class Loader {
 public:
  Loader(const SafetensorsReader& files, const ExecPlan& plan, const ModelSpec& model,
         RankState& rank)
      : files_(files),
        plan_(plan),
        model_(model),
        rank_(rank),
        layout_(rank.layout()),
        experts_(experts_in(files)) {}

  void fill_shares() {
    const auto& shares = layout_.rank_class().shares;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      const OptimizerShare& s = shares[i];
      const StageGraph& stage = plan_.stages[as_index(s.stage)];
      std::vector<float> values(as_index(s.elements));
      for (std::size_t p = 0; p < s.params.size(); ++p)
        fill(stage.params[s.params[p].v], values.data() + s.offsets[p]);
      rank_.write_weights(static_cast<int>(i), values);
    }
  }

  void fill_buffers() {
    std::vector<float> values(as_index(layout_.buffer_elements()));
    rank_.read_buffers(values);
    for (int stage : layout_.rank_class().stage_of_chunk) {
      const auto& params = plan_.stages[as_index(stage)].params;
      for (uint32_t p = 0; p < params.size(); ++p)
        if (!params[p].trained && params[p].saved)
          fill(params[p], values.data() + layout_.find(stage, {p}).offset);
    }
    rank_.write_buffers(values);
  }

 private:
  void fill(const Param& p, float* out) const {
    const int64_t first = p.expert ? layout_.first_expert(p.groups) : 0;
    const int64_t each = p.count() / p.groups;
    const Param whole = whole_param(p);
    std::vector<float> matrix;
    for (int64_t g = 0; g < p.groups; ++g) {
      float* mine = out + g * each;
      if (p.shard.ways > 1) matrix.assign(as_index(whole.count() / p.groups), 0);
      float* to = p.shard.ways > 1 ? matrix.data() : mine;
      for (const HfMatrix& m : hf_matrices(model_, whole, first + g, experts_))
        read_hf_matrix(m, files_.at(m.name), to, whole.cols);
      if (p.shard.ways == 1) continue;
      for (int64_t i = 0; i < each; ++i)
        mine[i] = matrix[as_index(whole_index(p, layout_.shard(p), i))];
    }
  }

  const SafetensorsReader& files_;
  const ExecPlan& plan_;
  const ModelSpec& model_;
  RankState& rank_;
  const RankLayout& layout_;
  HfExperts experts_;
};

}  // namespace

std::vector<std::string> load_hf_weights(const std::string& folder, const ExecPlan& plan,
                                         const ModelSpec& model, RankState& rank) {
  const SafetensorsReader files(folder);
  const TensorCheck check(files, model, plan);
  check.check_needed();
  Loader loader(files, plan, model, rank);
  loader.fill_shares();
  loader.fill_buffers();
  return check.warnings();
}

}  // namespace orrery
