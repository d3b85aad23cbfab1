// Jobs whose weights are arrays of the host, filled with numbers that tell whose they are, for
// tests of weights in Hugging Face folders.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "runtime/model/hf_weights.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {

inline StudySpec tiny_llama(const Layout& l) {
  const std::string root = kSourceDir;
  const int each = 4 / l.pipeline;
  std::string split;
  for (int s = 0; s < l.pipeline; ++s) split += fmt::format("{}{}", s == 0 ? "" : ",", each);
  std::vector<std::string> o = {
      "/model/vocab_size=96",
      "/model/hidden_size=64",
      "/model/intermediate_size=96",
      "/model/num_attention_heads=4",
      "/model/num_key_value_heads=2",
      "/model/head_dim=16",
      "/phases=[]",
      fmt::format("/cluster/node/gpus={}", l.pipeline * l.data * l.tensor * l.context),
      fmt::format("/plan/tensor_parallel={}", l.tensor),
      fmt::format("/plan/context_parallel={}", l.context),
      fmt::format("/plan/pipeline_parallel={}", l.pipeline),
      fmt::format("/plan/data_parallel={}", l.data),
      "/plan/micro_batch=1",
      "/plan/schedule=" + l.schedule,
      "/plan/layers_per_stage=[" + split + "]"};
  o.insert(o.end(), l.more.begin(), l.more.end());
  return load_study(root + "/experiments/tiny_llama", o, root);
}

inline std::size_t at(int64_t i) { return static_cast<std::size_t>(i); }

// A rank whose weights are arrays of the host.
class FakeRank : public RankState {
 public:
  FakeRank(const ExecPlan& plan, int64_t rank) : layout_(plan, rank) {
    for (const OptimizerShare& s : layout_.rank_class().shares)
      shares.emplace_back(at(s.elements), 0.0F);
    buffers.assign(at(layout_.buffer_elements()), 0.0F);
  }
  const RankLayout& layout() const override { return layout_; }
  void read_weights(int share, std::span<float> out) const override {
    copy(shares[at(share)], out);
  }
  void write_weights(int share, std::span<const float> values) override {
    REQUIRE(values.size() == shares[at(share)].size());
    shares[at(share)].assign(values.begin(), values.end());
  }
  std::size_t state_bytes(int, StateKind) const override { return 0; }
  void read_state(int, StateKind, std::span<std::byte>) const override { FAIL("no states"); }
  void write_state(int, StateKind, std::span<const std::byte>) override { FAIL("no states"); }
  void read_buffers(std::span<float> out) const override { copy(buffers, out); }
  void write_buffers(std::span<const float> values) override {
    REQUIRE(values.size() == buffers.size());
    buffers.assign(values.begin(), values.end());
  }
  void read_gradients(int share, std::span<float> out) const override {
    copy(shares[at(share)], out);
  }

  std::vector<std::vector<float>> shares;
  std::vector<float> buffers;

 private:
  static void copy(const std::vector<float>& from, std::span<float> out) {
    REQUIRE(out.size() == from.size());
    std::copy(from.begin(), from.end(), out.begin());
  }
  RankLayout layout_;
};

struct Job {
  explicit Job(StudySpec s)
      : study(std::move(s)),
        plan(compile_plan({study.model, study.plan, study.stack, study.cluster.node.gpus})) {
    for (int64_t r = 0; r < plan.ranks(); ++r) ranks.emplace_back(plan, r);
  }

  // Calls f("name@layer#expert", element of it, value) for all that the model keeps.
  template <class F>
  void for_each(F&& f) {
    for (FakeRank& rank : ranks) {
      const RankLayout& layout = rank.layout();
      const auto visit = [&](const Param& p, float* values) {
        const int64_t first = p.expert ? layout.first_expert(p.groups) : 0;
        const int64_t each = p.count() / p.groups;
        for (int64_t i = 0; i < p.count(); ++i)
          f(fmt::format("{}@{}#{}", p.name, p.layer, first + i / each),
            whole_index(p, layout.shard(p), i % each), values[i]);
      };
      const auto& shares = layout.rank_class().shares;
      for (std::size_t s = 0; s < shares.size(); ++s)
        for (std::size_t p = 0; p < shares[s].params.size(); ++p)
          visit(plan.stages[at(shares[s].stage)].params[shares[s].params[p].v],
                rank.shares[s].data() + shares[s].offsets[p]);
      for (int stage : layout.rank_class().stage_of_chunk) {
        const auto& params = plan.stages[at(stage)].params;
        for (uint32_t p = 0; p < params.size(); ++p)
          if (!params[p].trained && params[p].saved)
            visit(params[p], rank.buffers.data() + layout.find(stage, {p}).offset);
      }
    }
  }

  void save(const std::string& folder, const HfSaveOptions& options = {}) {
    for (const FakeRank& rank : ranks) save_hf_weights(folder, plan, study.model, rank, options);
  }
  std::vector<std::string> load(const std::string& folder) {
    std::vector<std::string> warnings;
    for (FakeRank& rank : ranks) warnings = load_hf_weights(folder, plan, study.model, rank);
    return warnings;
  }

  const StudySpec study;
  const ExecPlan plan;
  std::vector<FakeRank> ranks;
};

// A number that tells which weight and element it is of; BF16 represents it.
inline float expected(const std::string& key, int64_t element) {
  uint32_t h = 2166136261U;
  for (char c : key) h = (h ^ static_cast<unsigned char>(c)) * 16777619U;
  h = (h ^ static_cast<uint32_t>(element)) * 2654435761U;
  return (static_cast<float>(h >> 24) - 128.0F) * (1 + static_cast<float>(h >> 20 & 3));
}

inline float bf16(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  bits &= 0xffff0000U;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

inline void fill(Job& job) {
  job.for_each([](const std::string& key, int64_t i, float& x) { x = bf16(expected(key, i)); });
}

inline void check_filled(Job& job) {
  std::set<std::string> wrong, seen;
  job.for_each([&](const std::string& key, int64_t i, float& x) {
    seen.insert(key);
    if (x != bf16(expected(key, i))) wrong.insert(key);
  });
  CAPTURE(wrong);
  CHECK(wrong.empty());
  CHECK(seen.size() > 20);
}

inline const Layout kOne{};
inline const Layout kDualPipe{.pipeline = 2, .schedule = "dualpipe"};
inline const Layout kExperts{.data = 2, .expert = 2};
inline const Layout kMixed{.pipeline = 2, .data = 4, .expert = 2};

inline std::vector<float> floats_of(const Safetensor& t) {
  std::vector<float> out(t.data.size() / dtype_bytes(t.dtype));
  for (std::size_t i = 0; i < out.size(); ++i) {
    uint32_t bits = 0;
    if (t.dtype == SafetensorsDtype::kBF16) {
      uint16_t half = 0;
      std::memcpy(&half, t.data.data() + 2 * i, 2);
      bits = static_cast<uint32_t>(half) << 16;
    } else {
      std::memcpy(&bits, t.data.data() + 4 * i, 4);
    }
    std::memcpy(&out[i], &bits, 4);
  }
  return out;
}

// The tensors of a folder, to be changed and written again.
struct Model {
  explicit Model(const std::string& folder) {
    const SafetensorsReader files(folder);
    for (const Safetensor& t : files.tensors()) {
      infos.push_back(t);
      data[t.name].assign(t.data.begin(), t.data.end());
    }
  }
  template <class T>
  void put(const std::string& name, SafetensorsDtype dtype, std::vector<int64_t> shape,
           const std::vector<T>& values) {
    remove(name);
    infos.push_back({name, dtype, std::move(shape)});
    const auto bytes = std::as_bytes(std::span(values));
    data[name].assign(bytes.begin(), bytes.end());
  }
  void remove(const std::string& name) {
    std::erase_if(infos, [&](const SafetensorInfo& t) { return t.name == name; });
    data.erase(name);
  }
  void write(const std::string& folder) const {
    std::filesystem::create_directories(folder);
    SafetensorsWriter file(folder + "/model.safetensors", infos);
    for (const auto& [name, bytes] : data) file.write(name, bytes);
    file.finish();
  }
  std::vector<SafetensorInfo> infos;
  std::map<std::string, std::vector<std::byte>> data;
};

}  // namespace orrery
