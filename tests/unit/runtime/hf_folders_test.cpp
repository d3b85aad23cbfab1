// Folders of Hugging Face safetensors that others wrote: other forms and types, tensors too many,
// missing or wrong.
#include <cmath>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/hf_job.h"

namespace orrery {
namespace {

using testing::failure_of;
using testing::TemporaryDirectory;

TEST_CASE("hf weights: experts fused as transformers 5 has them", "[runtime]") {
  const TemporaryDirectory folder;
  Job writer(tiny_study(kOne));
  fill(writer);
  writer.save(folder.file("separate"));
  Model model(folder.file("separate"));
  for (int layer = 1; layer < 5; ++layer) {
    const std::string experts = fmt::format("model.layers.{}.mlp.experts.", layer);
    std::vector<std::byte> gate_up, down;
    for (int e = 0; e < 8; ++e)
      for (const char* part : {"gate_proj", "up_proj", "down_proj"}) {
        const std::string name = fmt::format("{}{}.{}.weight", experts, e, part);
        auto& to = part[0] == 'd' ? down : gate_up;
        to.insert(to.end(), model.data.at(name).begin(), model.data.at(name).end());
        model.remove(name);
      }
    model.put(experts + "gate_up_proj", SafetensorsDtype::kBF16, {8, 64, 64}, gate_up);
    model.put(experts + "down_proj", SafetensorsDtype::kBF16, {8, 64, 32}, down);
  }
  model.write(folder.file("fused"));
  for (const Layout& to : {kOne, kMixed}) {
    Job reader(tiny_study(to));
    CHECK(reader.load(folder.file("fused")).empty());
    check_filled(reader);
  }
}

TEST_CASE("hf weights: F16 is read, with its subnormals", "[runtime]") {
  const TemporaryDirectory folder;
  Job job(tiny_llama(kOne));
  job.save(folder.file("a"));
  Model model(folder.file("a"));
  std::vector<uint16_t> halves(64, 0x3c00);  // 1
  halves[1] = 0xc500, halves[2] = 0x0001, halves[3] = 0x83ff, halves[4] = 0x7bff;
  halves[5] = 0x7c00, halves[6] = 0x7e00;
  model.put("model.norm.weight", SafetensorsDtype::kF16, {64}, halves);
  model.write(folder.file("b"));
  job.load(folder.file("b"));
  const ParamId norm = job.plan.stages[0].find_param("final_norm.weight", -1);
  const float* v = job.ranks[0].shares[0].data() + job.ranks[0].layout().find(0, norm).offset;
  CHECK(v[0] == 1);
  CHECK(v[1] == -5);
  CHECK(v[2] == 0x1p-24F);
  CHECK(v[3] == -1023 * 0x1p-24F);
  CHECK(v[4] == 65504);
  CHECK(std::isinf(v[5]));
  CHECK(std::isnan(v[6]));
}

TEST_CASE("hf weights: a folder that does not fit says all that is wrong", "[runtime]") {
  const TemporaryDirectory folder;
  Job job(tiny_study(kDualPipe));
  fill(job);
  job.save(folder.file("good"));
  Model model(folder.file("good"));
  const std::string attention = "model.layers.1.self_attn.";
  const std::vector<float> values(96 * 64, 1);
  model.remove(attention + "q_a_proj.weight");
  model.put(attention + "qa_proj.weight", SafetensorsDtype::kF32, {64}, std::vector<float>(64));
  model.remove("model.layers.4.mlp.experts.7.up_proj.weight");
  model.put("lm_head.weight", SafetensorsDtype::kF32, {64, 96}, values);
  model.put("model.embed_tokens.weight", SafetensorsDtype::kI32, {96, 64}, values);
  model.write(folder.file("bad"));
  Job reader(tiny_study(kDualPipe));
  const std::string message = failure_of([&] { reader.load(folder.file("bad")); }).message;
  CHECK(std::count(message.begin(), message.end(), '\n') == 3);
  CHECK(contains(message,
                 "tensor \"model.layers.1.self_attn.q_a_proj.weight\" [32, 64] is missing; "
                 "there is \"model.layers.1.self_attn.qa_proj.weight\""));
  CHECK(contains(message, "experts.7.up_proj.weight\" [32, 64] is missing"));
  CHECK(contains(message,
                 "\"lm_head.weight\": found F32 [64, 96], expected BF16, F16 or F32 "
                 "[96, 64]"));
  CHECK(contains(message, "\"model.embed_tokens.weight\": found I32 [96, 64]"));
  // Nothing was written.
  CHECK(reader.ranks[0].shares[0] == std::vector<float>(reader.ranks[0].shares[0].size()));
  CHECK(failure_of([&] { reader.load(folder.file("none")); }).code == ExitCode::kNoInput);
}

TEST_CASE("hf weights: tensors that are left out", "[runtime]") {
  const TemporaryDirectory folder;
  Job job(tiny_study(kOne));
  fill(job);
  job.save(folder.file("good"));
  Model model(folder.file("good"));
  const auto copy = [&](const std::string& from, const std::string& to) {
    model.infos.push_back({to, SafetensorsDtype::kBF16, {96, 64}});
    model.data[to] = model.data.at(from);
  };
  copy("model.embed_tokens.weight", "model.layers.4.embed_tokens.weight");
  copy("lm_head.weight", "model.layers.4.shared_head.head.weight");
  const std::vector<float> one(1);
  model.put("model.layers.0.self_attn.rotary_emb.inv_freq", SafetensorsDtype::kF32, {1}, one);
  model.write(folder.file("known"));
  CHECK(job.load(folder.file("known")).empty());

  model.data.at("model.layers.4.shared_head.head.weight")[0] ^= std::byte{1};
  model.put("model.layers.9.eh_proj.weight", SafetensorsDtype::kF32, {1}, one);
  for (int i = 0; i < 9; ++i)
    model.put(fmt::format("extra.{}", i), SafetensorsDtype::kF32, {1}, one);
  model.write(folder.file("unknown"));
  const std::vector<std::string> warnings = job.load(folder.file("unknown"));
  REQUIRE(warnings.size() == 2);
  CHECK(contains(warnings[0],
                 "\"model.layers.4.shared_head.head.weight\" differs from "
                 "\"lm_head.weight\""));
  CHECK(contains(warnings[1], "10 tensors are not part of the model: \"extra.0\", \"extra.1\""));
  CHECK(contains(warnings[1], "\"extra.7\" and 2 more"));
  check_filled(job);

  // Without MTP its modules are known, but no other layers.
  Layout trunk;
  trunk.more = {"/model/num_nextn_predict_layers=0"};
  Job without(tiny_study(trunk));
  CHECK(without.load(folder.file("good")).empty());
  trunk.more = {"/model/num_nextn_predict_layers=0", "/model/num_hidden_layers=3",
                "/plan/layers_per_stage=[3]"};
  const auto cut = Job(tiny_study(trunk)).load(folder.file("good"));
  REQUIRE(cut.size() == 1);
  CHECK(contains(cut[0], "\"model.layers.3."));
  CHECK_FALSE(contains(cut[0], "\"model.layers.4."));
}

TEST_CASE("hf weights: one folder does not hold two forms of a model", "[runtime]") {
  const TemporaryDirectory folder;
  Job one(tiny_study(kOne)), two(tiny_study(kMixed));
  one.save(folder.file("a"));
  one.save(folder.file("a"));
  CHECK(failure_of([&] { two.save(folder.file("a")); }).code == ExitCode::kCannotCreate);
  two.save(folder.file("b"));
  CHECK(failure_of([&] { one.save(folder.file("b")); }).code == ExitCode::kCannotCreate);
}

}  // namespace
}  // namespace orrery
