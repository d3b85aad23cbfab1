#include "sim/spec/model.h"

#include "sim/base/json_reader.h"
#include "sim/import/hf_config.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

TEST_CASE("DeepSeek-V3's parameters follow from its shapes", "[spec]") {
  const ModelSpec m = deepseek().model;
  const ParameterCount p = count_parameters(m);
  // MLA: 7168·1536 + 1536·128·192 + 7168·576 + 512·128·256 + 128·128·7168 = 187,105,280 a layer.
  CHECK(p.attention == 61 * 187105280LL);
  // Dense FFN: 3 layers of 3·7168·18432 (the FFN width, not the hidden size).
  CHECK(p.dense_ffn == 3 * 3 * 7168LL * 18432);
  // 58 MoE layers of 256 experts of 3·7168·2048.
  CHECK(p.routed_experts == 58 * 256 * 3 * 7168LL * 2048);
  CHECK(p.embedding == 129280LL * 7168);
  CHECK(p.total() == 671026419200LL);
  // 3 norms + 2h·h projection + one MoE layer: 3·7168 + 2·7168² + 187,105,280 + 2·7168 + 2048 +
  // 257·3·7168·2048 + 256·7168 + 256.
  CHECK(p.mtp == 21504LL + 102760448 + 187105280 + 14336 + 2048 + 257 * 3 * 7168LL * 2048 +
                     256 * 7168 + 256);
}

TEST_CASE("DeepSeek-V3 trains with 250 GFLOP per token at 4K", "[spec]") {
  const ModelFlops f = model_flops_per_token(deepseek().model, 4096);
  CHECK(f.causal / 1e9 == Approx(250.45).epsilon(1e-4));  // published: 250 (arXiv 2505.09343)
  CHECK(f.non_causal / 1e9 == Approx(281.15).epsilon(1e-4));
}

TEST_CASE("Attention scores are scaled by the head dimension, and by YaRN's mscale squared",
          "[spec]") {
  ModelSpec m = deepseek().model;
  // 1/sqrt(192) times (0.1 ln 40 + 1)^2 = 1.36889^2.
  CHECK(softmax_scale(m) == Approx(0.0721688 * 1.873854).epsilon(1e-5));
  m.rope.mscale_all_dim = 0;
  CHECK(softmax_scale(m) == Approx(0.0721688).epsilon(1e-5));
}

TEST_CASE("Only the leading layers are dense", "[spec]") {
  const ModelSpec m = deepseek().model;
  CHECK_FALSE(m.is_moe_layer(2));
  CHECK(m.is_moe_layer(3));
  CHECK(m.is_moe_layer(60));
}

TEST_CASE("Multi-head attention with experts is a model like any other", "[spec]") {
  const json::Node n = json::parse_json(
      R"({"model_type":"mixtral","num_attention_heads":32,"num_key_value_heads":32})", "m.json");
  Diagnostics d;
  const ModelSpec m = read_hf_config(n, "/model", "mha", d);
  CHECK_NOTHROW(d.throw_if_any());
  CHECK(m.heads == m.kv_heads);
  CHECK(m.experts == 8);
  // q, k, v and o of 4096 x 4096.
  CHECK(count_parameters(m).attention == 32LL * 4 * 4096 * 4096);
  CHECK_FALSE(m.defaulted.empty());
}

TEST_CASE("Contradictions in a model name all fields involved", "[spec]") {
  CHECK(contains(error_of([] { deepseek({"/model/num_experts_per_tok=200"}); }),
                 "200 experts per token"));
  CHECK(contains(error_of([] { deepseek({"/model/n_group=7"}); }), "256 routed experts"));
}
