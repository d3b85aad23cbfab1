// Rotary position embeddings as config.json files write them.
#include "sim/base/json_reader.h"
#include "sim/import/hf_config.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

ModelSpec read(const std::string& family, const std::string& members) {
  const json::Node n =
      json::parse_json(R"({"model_type": ")" + family + "\"" + members + "}", "config.json");
  Diagnostics d;
  ModelSpec m = read_hf_config(n, "/model", "m", d);
  d.throw_if_any();
  return m;
}

RopeSpec rope(const std::string& members) { return read("llama", members).rope; }

std::string refusal(const std::string& members) {
  return error_of([&] { rope(members); });
}

}  // namespace

TEST_CASE("DeepSeek-V3 extends 4096 positions by YaRN and rotates neighbouring elements",
          "[import]") {
  const ModelSpec m = deepseek().model;
  CHECK(m.rope.kind == RopeKind::kYarn);
  CHECK(m.rope.theta == 10000);
  CHECK(m.rope.factor == 40);
  CHECK(m.rope.beta_fast == 32);
  CHECK(m.rope.beta_slow == 1);
  CHECK(m.rope.mscale == 1);
  CHECK(m.rope.mscale_all_dim == 1);
  CHECK(m.rope.attention_factor == 0);
  CHECK(m.rope.original_max_position == 4096);
  CHECK(m.rope.interleaved);
  CHECK(m.rope_dim() == 64);
}

TEST_CASE("Without scaling there is each family's theta and order", "[import]") {
  const ModelSpec deepseek_v3 = read("deepseek_v3", R"(, "rope_scaling": null)");
  CHECK(deepseek_v3.rope.kind == RopeKind::kNone);
  CHECK(deepseek_v3.rope.theta == 1e4);
  CHECK(deepseek_v3.rope.interleaved);
  CHECK_FALSE(read("deepseek_v3", R"(, "rope_interleave": false)").rope.interleaved);
  const ModelSpec mixtral = read("mixtral", "");
  CHECK(mixtral.rope.theta == 1e6);
  CHECK_FALSE(mixtral.rope.interleaved);
  CHECK(mixtral.rope_dim() == 128);
  CHECK(rope("").theta == 1e4);
  CHECK(rope(R"(, "rope_theta": 500000.0)").theta == 5e5);
}

TEST_CASE("Llama 3.1 scales by frequency", "[import]") {
  const RopeSpec s = rope(R"(, "max_position_embeddings": 131072, "rope_theta": 500000.0,
      "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192, "rope_type": "llama3"})");
  CHECK(s.kind == RopeKind::kLlama3);
  CHECK(s.theta == 5e5);
  CHECK(s.factor == 8);
  CHECK(s.low_freq_factor == 1);
  CHECK(s.high_freq_factor == 4);
  CHECK(s.original_max_position == 8192);
}

TEST_CASE("rope_parameters holds theta too, and yields to rope_scaling", "[import]") {
  const RopeSpec plain =
      rope(R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0})");
  CHECK(plain.kind == RopeKind::kNone);
  CHECK(plain.theta == 2.5e5);
  const RopeSpec s = rope(R"(, "rope_scaling": {"type": "linear", "factor": 2},
      "rope_parameters": {"rope_type": "default", "rope_theta": 250000.0}, "rope_theta": 7000)");
  CHECK(s.kind == RopeKind::kLinear);
  CHECK(s.factor == 2);
  CHECK(s.theta == 7000);
}

TEST_CASE("YaRN's optional keys may be missing or null", "[import]") {
  const RopeSpec s = rope(R"(, "max_position_embeddings": 32768, "rope_scaling":
      {"rope_type": "yarn", "factor": 4.0, "attention_factor": null, "beta_fast": null})");
  CHECK(s.kind == RopeKind::kYarn);
  CHECK(s.beta_fast == 32);
  CHECK(s.beta_slow == 1);
  CHECK(s.mscale == 0);
  CHECK(s.attention_factor == 0);
  CHECK(s.original_max_position == 32768);
  CHECK(rope(R"(, "rope_scaling": {"type": "yarn", "factor": 4, "attention_factor": 1.25})")
            .attention_factor == 1.25);
}

TEST_CASE("A RoPE that cannot be computed is refused by its key", "[import]") {
  const auto scaling = [](const std::string& members) {
    return refusal(R"(, "rope_scaling": {)" + members + "}");
  };
  CHECK(contains(scaling(R"("type": "dynamic", "factor": 2)"), "/model/rope_scaling/type"));
  CHECK(contains(scaling(R"("rope_type": "longrope")"), "/model/rope_scaling/rope_type"));
  CHECK(contains(scaling(R"("type": "yarn")"), "missing key \"factor\""));
  CHECK(contains(scaling(R"("type": "linear", "factor": 0.5)"), "/model/rope_scaling/factor"));
  CHECK(contains(scaling(R"("type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 32)"),
                 "beta_fast 1 is below beta_slow 32"));
  CHECK(contains(scaling(R"("type": "yarn", "factor": 2, "truncate": 1)"), "truncate"));
  CHECK(contains(scaling(R"("type": "llama3", "factor": 2, "low_freq_factor": 4,
                             "high_freq_factor": 4)"),
                 "high_freq_factor 4 is not above low_freq_factor 4"));
  CHECK(contains(refusal(R"(, "partial_rotary_factor": 1.5)"), "/model/partial_rotary_factor"));
  CHECK(contains(refusal(R"(, "rope_theta": 0)"), "/model/rope_theta"));
  CHECK(contains(refusal(R"(, "rope_scaling": "yarn")"), "/model/rope_scaling"));
}
