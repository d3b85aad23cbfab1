#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/io/durable_file.h"
#include "runtime/model/hf_names.h"
#include "runtime/model/hf_values.h"
#include "runtime/model/hf_weights.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

std::size_t index(int64_t i) { return static_cast<std::size_t>(i); }

// A parameter that a rank writes.
struct WrittenParam {
  const Param* param;
  int stage;
  ParamId id;
  int share;       // -1: a buffer
  int64_t offset;  // in the share
  int64_t first_expert;
};

// With DualPipe two classes hold each stage.
bool first_class_of(const ExecPlan& plan, std::size_t rank_class, int stage) {
  for (std::size_t c = 0; c < rank_class; ++c) {
    const auto& stages = plan.classes[c].stage_of_chunk;
    if (std::find(stages.begin(), stages.end(), stage) != stages.end()) return false;
  }
  return true;
}

std::vector<WrittenParam> written_by(const ExecPlan& plan, int64_t rank, bool buffers) {
  const ExecPlan::Place at = plan.place(rank);
  const RankClass& c = plan.classes[at.rank_class];
  std::vector<WrittenParam> out;
  const auto param = [&](int stage, ParamId id) { return &plan.stages[index(stage)].params[id.v]; };
  for (std::size_t i = 0; i < c.shares.size(); ++i) {
    const OptimizerShare& s = c.shares[i];
    const int64_t writers = s.comm == CommKind::kExpertData ? plan.expert_parallel : 1;
    if (at.replica >= writers || !first_class_of(plan, at.rank_class, s.stage)) continue;
    for (std::size_t p = 0; p < s.params.size(); ++p) {
      const Param* it = param(s.stage, s.params[p]);
      if (s.params[p] == s.repeated) continue;
      out.push_back({it, s.stage, s.params[p], static_cast<int>(i), s.offsets[p],
                     it->expert ? at.replica * it->groups : 0});
    }
  }
  if (!buffers || at.replica > 0) return out;
  for (int stage : c.stage_of_chunk) {
    if (!first_class_of(plan, at.rank_class, stage)) continue;
    const auto count = static_cast<uint32_t>(plan.stages[index(stage)].params.size());
    for (uint32_t p = 0; p < count; ++p) {
      const Param* it = param(stage, {p});
      if (!it->trained && it->saved) out.push_back({it, stage, {p}, -1, 0, 0});
    }
  }
  return out;
}

// The tensors of a rank's file, in the order of its parameters.
class RankTensors {
 public:
  RankTensors(const ExecPlan& plan, const ModelSpec& model, int64_t rank, bool buffers,
              SafetensorsDtype dtype)
      : params_(written_by(plan, rank, buffers)), dtype_(dtype) {
    for (const WrittenParam& w : params_) {
      matrices_.emplace_back();
      for (int64_t g = 0; g < w.param->groups; ++g)
        matrices_.back().push_back(hf_matrices(model, *w.param, w.first_expert + g));
    }
  }

  std::vector<SafetensorInfo> infos() const {
    std::vector<SafetensorInfo> out;
    for (std::size_t i = 0; i < params_.size(); ++i)
      for (const auto& group : matrices_[i])
        for (const HfMatrix& m : group) out.push_back({m.name, dtype_of(params_[i]), m.shape});
    return out;
  }

  // Shares come one after the other, so that only one is in memory.
  void write(SafetensorsWriter& file, const RankLayout& layout, const HfValues& values) const {
    std::vector<float> share, buffers;
    int held = -1;
    for (std::size_t i = 0; i < params_.size(); ++i) {
      const WrittenParam& w = params_[i];
      const float* first = nullptr;
      if (w.share >= 0) {
        if (held != w.share) {
          held = w.share;
          share.resize(index(layout.rank_class().shares[index(held)].elements));
          values.share(held, share);
        }
        first = share.data() + w.offset;
      } else {
        if (buffers.empty()) {
          buffers.resize(index(layout.buffer_elements()));
          values.buffers(buffers);
        }
        first = buffers.data() + layout.find(w.stage, w.id).offset;
      }
      write_param(file, i, first);
    }
  }

 private:
  SafetensorsDtype dtype_of(const WrittenParam& w) const {
    return w.share < 0 ? SafetensorsDtype::kF32 : dtype_;
  }

  void write_param(SafetensorsWriter& file, std::size_t i, const float* values) const {
    const Param& p = *params_[i].param;
    for (const auto& group : matrices_[i]) {
      for (const HfMatrix& m : group)
        file.write(m.name, write_hf_matrix(m, dtype_of(params_[i]), values, p.cols));
      values += p.count() / p.groups;
    }
  }

  std::vector<WrittenParam> params_;
  std::vector<std::vector<std::vector<HfMatrix>>> matrices_;  // [param][expert]
  SafetensorsDtype dtype_;
};

std::string shard_name(std::size_t number, std::size_t count) {
  if (count == 1) return kSingleFile;
  return fmt::format("model-{:05d}-of-{:05d}.safetensors", number + 1, count);
}

void write_index(const std::string& path, const ExecPlan& plan, const ModelSpec& model,
                 const std::vector<int64_t>& writers, bool buffers, SafetensorsDtype dtype) {
  nlohmann::json weight_map = nlohmann::json::object();
  uint64_t total = 0;
  for (std::size_t i = 0; i < writers.size(); ++i)
    for (const SafetensorInfo& t : RankTensors(plan, model, writers[i], buffers, dtype).infos()) {
      weight_map[t.name] = shard_name(i, writers.size());
      total += tensor_bytes(t);
    }
  AtomicFile file(path);
  const nlohmann::json root = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  file.file().append(root.dump(2) + "\n");
  file.commit();
}

void refuse_other_form(const std::string& folder, bool single) {
  const auto other = std::filesystem::path(folder) / (single ? kIndexFile : kSingleFile);
  std::error_code ignored;
  if (!std::filesystem::exists(other, ignored)) return;
  throw Error(ExitCode::kCannotCreate,
              fmt::format("{}: the folder has another model, written by {}; choose a new folder",
                          other.string(), single ? "several ranks" : "one rank"));
}

void refuse_shards(const std::string& folder, const ExecPlan& plan) {
  if (plan.tensor_parallel == 1 && plan.expert_tensor_parallel == 1) return;
  throw Error(ExitCode::kUsage,
              fmt::format("{}: matrices are split over tensor_parallel {} and "
                          "expert_tensor_parallel {}, so no rank has a whole one to write",
                          folder, plan.tensor_parallel, plan.expert_tensor_parallel));
}

}  // namespace

void save_hf_tensors(const std::string& folder, const ExecPlan& plan, const ModelSpec& model,
                     const RankLayout& layout, const HfValues& values,
                     const HfSaveOptions& options) {
  refuse_shards(folder, plan);
  const bool buffers = static_cast<bool>(values.buffers);
  std::vector<int64_t> writers;
  for (int64_t r = 0; r < plan.ranks(); ++r)
    if (!written_by(plan, r, buffers).empty()) writers.push_back(r);
  make_folders(folder);
  refuse_other_form(folder, writers.size() == 1);
  const auto path = [&](const std::string& name) {
    return (std::filesystem::path(folder) / name).string();
  };
  const auto self = std::find(writers.begin(), writers.end(), layout.rank());
  if (self != writers.end()) {
    const RankTensors mine(plan, model, layout.rank(), buffers, options.dtype);
    const auto number = static_cast<std::size_t>(self - writers.begin());
    SafetensorsWriter file(path(shard_name(number, writers.size())), mine.infos(),
                           options.metadata);
    mine.write(file, layout, values);
    file.finish();
  }
  if (layout.rank() == 0 && writers.size() > 1)
    write_index(path(kIndexFile), plan, model, writers, buffers, options.dtype);
}

void save_hf_weights(const std::string& folder, const ExecPlan& plan, const ModelSpec& model,
                     const RankState& rank, const HfSaveOptions& options) {
  const HfValues values{[&](int share, std::span<float> out) { rank.read_weights(share, out); },
                        [&](std::span<float> out) { rank.read_buffers(out); }};
  save_hf_tensors(folder, plan, model, rank.layout(), values, options);
}

void save_hf_gradients(const std::string& folder, const ExecPlan& plan, const ModelSpec& model,
                       const RankState& rank) {
  for (const RankClass& c : plan.classes)
    for (const OptimizerShare& s : c.shares)
      if (s.shards > 1)
        throw Error(ExitCode::kUsage,
                    fmt::format("{}: gradients are split over {} ranks, so none has a whole one to "
                                "write; use /plan/zero_stage=0",
                                folder, s.shards));
  const HfValues values{[&](int share, std::span<float> out) { rank.read_gradients(share, out); },
                        {}};
  save_hf_tensors(folder, plan, model, rank.layout(), values,
                  {SafetensorsDtype::kF32, {{"format", "pt"}}});
}

}  // namespace orrery
