// Weights through folders of Hugging Face safetensors: from any layout to any other, by the names
// and shapes of transformers.
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/hf_job.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::failure_of;
using testing::TemporaryDirectory;

TEST_CASE("hf weights: deepseek goes from every layout to every other", "[runtime]") {
  for (const Layout& from : {kOne, kDualPipe, kExperts, kMixed}) {
    const TemporaryDirectory folder;
    Job writer(tiny_study(from));
    fill(writer);
    writer.save(folder.path());
    for (const Layout& to : {kOne, kDualPipe, kExperts, kMixed}) {
      INFO(from.name() << " to " << to.name());
      Job reader(tiny_study(to));
      CHECK(reader.load(folder.path()).empty());
      check_filled(reader);
    }
  }
}

TEST_CASE("hf weights: each rank of a tensor-parallel group reads its part", "[runtime]") {
  const TemporaryDirectory folder;
  Job dense(tiny_llama(kOne)), moe(tiny_study(kOne));
  fill(dense), fill(moe);
  dense.save(folder.file("dense")), moe.save(folder.file("moe"));
  const std::string sp = "/plan/sequence_parallel=true", etp = "/plan/expert_tensor_parallel=2";
  Job dense2(tiny_llama({.tensor = 2})), moe2(tiny_study({.more = {sp, etp}, .tensor = 2}));
  CHECK(dense2.load(folder.file("dense")).empty());
  CHECK(moe2.load(folder.file("moe")).empty());
  check_filled(dense2), check_filled(moe2);
  CHECK(contains(error_of([&] { dense2.save(folder.file("split")); }),
                 "matrices are split over tensor_parallel 2"));
}

TEST_CASE("hf weights: llama goes from every layout to every other", "[runtime]") {
  for (const Layout& from : {kOne, kDualPipe, Layout{.pipeline = 4, .data = 2}}) {
    const TemporaryDirectory folder;
    Job writer(tiny_llama(from));
    fill(writer);
    writer.save(folder.path());
    for (const Layout& to : {kOne, kDualPipe, Layout{.pipeline = 4, .data = 2}}) {
      INFO(from.name() << " to " << to.name());
      Job reader(tiny_llama(to));
      CHECK(reader.load(folder.path()).empty());
      check_filled(reader);
    }
  }
}

// The names and shapes that transformers gives the tiny DeepSeek, and DeepSeek's its MTP module.
std::map<std::string, std::vector<int64_t>> deepseek_tensors() {
  std::map<std::string, std::vector<int64_t>> t = {
      {"model.embed_tokens.weight", {96, 64}},
      {"model.norm.weight", {64}},
      {"lm_head.weight", {96, 64}},
      {"model.layers.4.enorm.weight", {64}},
      {"model.layers.4.hnorm.weight", {64}},
      {"model.layers.4.eh_proj.weight", {64, 128}},
      {"model.layers.4.shared_head.norm.weight", {64}}};
  for (int layer = 0; layer < 5; ++layer) {
    const std::string l = fmt::format("model.layers.{}.", layer);
    t[l + "input_layernorm.weight"] = t[l + "post_attention_layernorm.weight"] = {64};
    t[l + "self_attn.q_a_proj.weight"] = {32, 64};
    t[l + "self_attn.q_a_layernorm.weight"] = t[l + "self_attn.kv_a_layernorm.weight"] = {32};
    t[l + "self_attn.q_b_proj.weight"] = {2 * (16 + 8), 32};
    t[l + "self_attn.kv_a_proj_with_mqa.weight"] = {32 + 8, 64};
    t[l + "self_attn.kv_b_proj.weight"] = {2 * (16 + 16), 32};
    t[l + "self_attn.o_proj.weight"] = {64, 2 * 16};
    const auto ffn = [&](const std::string& name, int64_t width) {
      t[l + name + "gate_proj.weight"] = t[l + name + "up_proj.weight"] = {width, 64};
      t[l + name + "down_proj.weight"] = {64, width};
    };
    if (layer == 0) {
      ffn("mlp.", 96);
      continue;
    }
    t[l + "mlp.gate.weight"] = {8, 64};
    t[l + "mlp.gate.e_score_correction_bias"] = {8};
    ffn("mlp.shared_experts.", 32);
    for (int e = 0; e < 8; ++e) ffn(fmt::format("mlp.experts.{}.", e), 32);
  }
  return t;
}

TEST_CASE("hf weights: names, shapes and types are those of transformers", "[runtime]") {
  const TemporaryDirectory folder;
  Job job(tiny_study(kMixed));
  fill(job);
  job.save(folder.path(), {SafetensorsDtype::kBF16, {{"format", "pt"}, {"step", "7"}}});
  // Per stage, a rank writes dense weights and experts, the other of its group only experts.
  CHECK(folder.entries() == 5);
  const SafetensorsReader files(folder.path());
  CHECK(files.metadata().at("step") == "7");
  std::map<std::string, std::vector<int64_t>> found;
  uint64_t bytes = 0;
  for (const Safetensor& t : files.tensors()) {
    found[t.name] = t.shape;
    bytes += t.data.size();
    CHECK(t.dtype == (contains(t.name, "bias") ? SafetensorsDtype::kF32 : SafetensorsDtype::kBF16));
  }
  CHECK(found == deepseek_tensors());
  CHECK(contains(content_of(folder.file("model.safetensors.index.json")),
                 fmt::format("\"total_size\": {}", bytes)));
}

TEST_CASE("hf weights: the parts of fused and transposed matrices", "[runtime]") {
  const TemporaryDirectory folder;
  Job job(tiny_study(kExperts));
  fill(job);
  job.save(folder.file("deepseek"));
  const SafetensorsReader deepseek(folder.file("deepseek"));
  const auto check = [](const SafetensorsReader& files, const std::string& name,
                        const std::string& key, auto&& element) {
    INFO(name);
    const Safetensor& t = files.at(name);
    const std::vector<float> values = floats_of(t);
    int wrong = 0;
    const int64_t cols = t.shape.back();
    for (int64_t r = 0; r < (t.shape.size() < 2 ? 1 : t.shape.front()); ++r)
      for (int64_t c = 0; c < cols; ++c)
        wrong += values[at(r * cols + c)] != bf16(expected(key, element(r, c)));
    CHECK(wrong == 0);
  };
  // Vectors and matrices that others have the shape of.
  const std::map<std::string, std::string> whole = {
      {"model.embed_tokens.weight", "embedding.weight@-1"},
      {"lm_head.weight", "head.weight@-1"},
      {"model.norm.weight", "final_norm.weight@-1"},
      {"model.layers.2.input_layernorm.weight", "attn_norm.weight@2"},
      {"model.layers.2.post_attention_layernorm.weight", "ffn_norm.weight@2"},
      {"model.layers.2.self_attn.q_a_layernorm.weight", "q_norm.weight@2"},
      {"model.layers.2.self_attn.kv_a_layernorm.weight", "kv_norm.weight@2"},
      {"model.layers.2.mlp.gate.e_score_correction_bias", "router.bias@2"},
      {"model.layers.4.mlp.gate.weight", "router.weight@4"},
      {"model.layers.4.enorm.weight", "mtp embedding_norm.weight@4"},
      {"model.layers.4.hnorm.weight", "mtp hidden_norm.weight@4"},
      {"model.layers.4.shared_head.norm.weight", "final_norm.weight@4"}};
  for (const auto& [name, key] : whole)
    check(deepseek, name, key + "#0", [&](int64_t r, int64_t c) {
      const auto& shape = deepseek.at(name).shape;
      return shape.size() < 2 ? c : r * shape[1] + c;
    });
  // An expert's matrices are [hidden, gate | up] and [ffn, hidden].
  const std::string expert = "model.layers.2.mlp.experts.6.";
  const std::string gate_up = "experts gate_up.weight@2#6";
  check(deepseek, expert + "gate_proj.weight", gate_up,
        [](int64_t r, int64_t c) { return c * 64 + r; });
  check(deepseek, expert + "up_proj.weight", gate_up,
        [](int64_t r, int64_t c) { return c * 64 + 32 + r; });
  check(deepseek, expert + "down_proj.weight", "experts down.weight@2#6",
        [](int64_t r, int64_t c) { return c * 64 + r; });
  check(deepseek, "model.layers.0.mlp.up_proj.weight", "mlp gate_up.weight@0#0",
        [](int64_t r, int64_t c) { return (96 + r) * 64 + c; });
  check(deepseek, "model.layers.4.mlp.shared_experts.gate_proj.weight", "shared gate_up.weight@4#0",
        [](int64_t r, int64_t c) { return r * 64 + c; });

  Job llama(tiny_llama(kOne));
  fill(llama);
  llama.save(folder.file("llama"));
  const SafetensorsReader files(folder.file("llama"));
  CHECK(files.tensors().size() == 3 + 4 * 9);
  check(files, "model.layers.3.self_attn.k_proj.weight", "kv_proj.weight@3#0",
        [](int64_t r, int64_t c) { return r * 64 + c; });
  check(files, "model.layers.3.self_attn.v_proj.weight", "kv_proj.weight@3#0",
        [](int64_t r, int64_t c) { return (32 + r) * 64 + c; });
}

TEST_CASE("hf weights: mixtral's names", "[runtime]") {
  StudySpec study = tiny_llama({.data = 2});
  ModelSpec& m = study.model;
  m.family = "mixtral";
  m.experts = 4, m.experts_per_token = 2, m.dense_layers = 0, m.expert_ffn = 96;
  study.plan.expert_parallel = 2;
  const TemporaryDirectory folder;
  Job writer(study);
  fill(writer);
  writer.save(folder.path());
  const SafetensorsReader files(folder.path());
  CHECK(files.tensors().size() == 3 + 4 * (2 + 4 + 1 + 4 * 3));
  const std::string moe = "model.layers.1.block_sparse_moe.";
  CHECK(files.at(moe + "gate.weight").shape == std::vector<int64_t>{4, 64});
  const std::vector<float> w3 = floats_of(files.at(moe + "experts.3.w3.weight"));
  CHECK(w3.at(5 * 64 + 7) == bf16(expected("experts gate_up.weight@1#3", 7 * 192 + 96 + 5)));
  CHECK(files.at(moe + "experts.3.w2.weight").shape == std::vector<int64_t>{64, 96});
  Job reader(study);
  CHECK(reader.load(folder.path()).empty());
  check_filled(reader);
}

TEST_CASE("hf weights: FP32 keeps every bit, BF16 rounds to nearest even", "[runtime]") {
  const TemporaryDirectory folder;
  Job job(tiny_llama(kOne));
  float& x = job.ranks[0].shares[0][0];  // of the embedding
  float& y = job.ranks[0].shares[0][1];
  float& z = job.ranks[0].shares[0][2];
  x = 1 + 0x1p-20F, y = 1 + 0x1p-8F, z = 1 + 3 * 0x1p-8F;
  job.save(folder.file("f32"), {SafetensorsDtype::kF32, {}});
  job.save(folder.file("bf16"));
  job.load(folder.file("f32"));
  CHECK(x == 1 + 0x1p-20F);
  job.load(folder.file("bf16"));
  CHECK(x == 1);
  CHECK(y == 1);
  CHECK(z == 1 + 4 * 0x1p-8F);
}

TEST_CASE("hf weights: a tied head is the embedding", "[runtime]") {
  const TemporaryDirectory folder;
  const Layout from{.pipeline = 2, .more = {"/model/tie_word_embeddings=true"}};
  Job writer(tiny_llama(from));
  fill(writer);
  writer.save(folder.file("a"));
  Model model(folder.file("a"));
  CHECK_FALSE(model.data.contains("lm_head.weight"));
  // Some writers repeat the embedding as the head.
  model.infos.push_back({"lm_head.weight", SafetensorsDtype::kBF16, {96, 64}});
  model.data["lm_head.weight"] = model.data.at("model.embed_tokens.weight");
  model.write(folder.file("b"));
  for (const char* schedule : {"1f1b", "dualpipe"})
    for (const char* form : {"a", "b"}) {
      Layout to = from;
      to.schedule = schedule;
      Job reader(tiny_llama(to));
      CHECK(reader.load(folder.file(form)).empty());
      check_filled(reader);
    }
}

TEST_CASE("hf weights: gradients have the weights' names, in FP32 and without biases",
          "[runtime]") {
  const TemporaryDirectory folder;
  Layout whole = kMixed;
  whole.more = {"/plan/zero_stage=0"};
  Job job(tiny_study(whole));
  fill(job);
  for (const FakeRank& rank : job.ranks)
    save_hf_gradients(folder.path(), job.plan, job.study.model, rank);
  auto names = deepseek_tensors();
  std::erase_if(names, [](const auto& t) { return contains(t.first, "bias"); });
  const SafetensorsReader files(folder.path());
  REQUIRE(files.tensors().size() == names.size());
  for (const Safetensor& t : files.tensors()) {
    CHECK(names.contains(t.name));
    CHECK(t.dtype == SafetensorsDtype::kF32);
  }
  const std::vector<float> norm = floats_of(files.at("model.norm.weight"));
  CHECK(norm[9] == bf16(expected("final_norm.weight@-1#0", 9)));

  Job split(tiny_study(kMixed));
  const auto failure = failure_of(
      [&] { save_hf_gradients(folder.path(), split.plan, split.study.model, split.ranks[3]); });
  CHECK(failure.code == ExitCode::kUsage);
  CHECK(contains(failure.message, "zero_stage"));
}

}  // namespace
}  // namespace orrery
