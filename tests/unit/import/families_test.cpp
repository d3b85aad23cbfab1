// Every family by a config as its publisher writes it: parameters to the digit where those are
// public, with the arithmetic; the own form as a fixed point.
#include <filesystem>

#include "sim/base/json_reader.h"
#include "sim/import/hf_config.h"
#include "sim/spec/model_json.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;
namespace fs = std::filesystem;

namespace {

const std::string kModels = std::string(kSourceDir) + "/experiments/validation/models";

ModelSpec read_node(const json::Node& n, const std::string& name) {
  Diagnostics d;
  ModelSpec m = read_hf_config(n, "/model", name, d);
  d.throw_if_any();
  return m;
}
ModelSpec read_family(const std::string& text) {
  return read_node(json::parse_json(text, "c.json"), "m");
}
ModelSpec file(const std::string& name) {
  return read_node(json::parse_json_file(kModels + "/" + name + ".json"), name);
}
int64_t parameters(const std::string& name) { return count_parameters(file(name)).total(); }
int64_t active(const std::string& name) {
  const ModelSpec m = file(name);
  return count_parameters(m).active(m);
}

}  // namespace

TEST_CASE("Llama's public parameter counts, to the digit", "[import]") {
  // L·(2·h² + 2·h·1024 + 3·h·f + 2·h) + 2·V·h + h.
  CHECK(parameters("llama3_8b") == 8030261248LL);
  CHECK(parameters("llama3_70b") == 70553706496LL);
  CHECK(parameters("llama3_405b") == 405853388800LL);
  CHECK(parameters("llama2_7b") == 6738415616LL);
  CHECK(parameters("llama2_70b") == 68976648192LL);
  CHECK(file("llama3_8b").defaulted.empty());
}

TEST_CASE("Mixtral's parameters, all and active", "[import]") {
  CHECK(parameters("mixtral_8x7b") == 46702792704LL);
  CHECK(active("mixtral_8x7b") == 12879925248LL);  // published: 12.9B
  CHECK(parameters("mixtral_8x22b") == 140620634112LL);
}

TEST_CASE("GPT in Megatron's and MPT's forms", "[import]") {
  // 12·L·h²·(1 + 13/(12·h) + (V + s)/(12·L·h)) + 2·h of the final norm, with L = 96, h = 12288,
  // V = 51200, s = 2048: 12·96·12288² + 13·96·12288 + 53248·12288 + 2·12288.
  CHECK(parameters("gpt_175b") ==
        12LL * 96 * 12288 * 12288 + 13LL * 96 * 12288 + 53248LL * 12288 + 2 * 12288);
  CHECK(parameters("gpt_175b") == 174615846912LL);
  CHECK(static_cast<double>(parameters("gpt_1.7b")) / 1e9 == Approx(1.7).margin(0.05));
  CHECK(static_cast<double>(parameters("gpt_18.4b")) / 1e9 == Approx(18.4).margin(0.05));
  CHECK(static_cast<double>(parameters("gpt_76.1b")) / 1e9 == Approx(76.1).margin(0.05));
  CHECK(static_cast<double>(parameters("gpt_310.1b")) / 1e9 == Approx(310.1).margin(0.05));
  CHECK(static_cast<double>(parameters("gpt_1008b")) / 1e9 == Approx(1008.0).margin(0.1));
  // llm-foundry's table at sequences of 2048.
  CHECK(parameters("mpt_1b") == 1315950592LL);
  CHECK(parameters("mpt_3b") == 2651837440LL);
  CHECK(parameters("mpt_760m") == 760470528LL);
  // With 1024 positions fewer than the file's 2048.
  CHECK(parameters("mpt_7b") - 1024 * 4096 == 6654664704LL);
}

TEST_CASE("Mixtures of experts: DeepSeek, Kimi, Qwen, gpt-oss", "[import]") {
  CHECK(parameters("deepseek_v3") == 671026419200LL);
  CHECK(static_cast<double>(parameters("deepseek_v2")) / 1e9 == Approx(235.7).margin(0.1));
  CHECK(static_cast<double>(active("deepseek_v2")) / 1e9 == Approx(21.4).margin(0.2));
  CHECK(static_cast<double>(parameters("kimi_k2")) / 1e9 == Approx(1026.4).margin(1));
  CHECK(file("kimi_k2").family == "kimi_k2");
  CHECK(parameters("qwen3_30b_a3b") == 30532122624LL);
  CHECK(parameters("qwen3_235b_a22b") == 235093634560LL);
  CHECK(static_cast<double>(active("qwen3_235b_a22b")) / 1e9 == Approx(22.2).margin(0.1));
  // Per layer: attention 2·3584² + 2·3584·512 and 4608 biases, 64 experts of 3·3584·2560, shared
  // 3·3584·20480 and its gate 3584, router 64·3584, norms 2·3584; embedding, head, final norm.
  CHECK(parameters("qwen2_57b_a14b") == 28 * 2011413504LL + 2LL * 151936 * 3584 + 3584);
  // gpt-oss: 36 layers of q 2880·4096, k and v 2880·512 each and o 4096·2880 with their biases
  // (4096, 512, 512, 2880), 64 sinks, router 128·2881, 128 experts of 3·2880² + 2·2880 + 2880, two
  // norms; embedding and head of 201088; final norm.
  const int64_t attention = 2880LL * 4096 * 2 + 2 * 2880 * 512 + 4096 + 2 * 512 + 2880 + 64;
  const int64_t experts = 128LL * (3 * 2880 * 2880 + 3 * 2880);
  CHECK(parameters("gpt_oss_120b") ==
        36 * (attention + 128 * 2881 + experts + 2 * 2880) + 2LL * 201088 * 2880 + 2880);
  CHECK(static_cast<double>(parameters("gpt_oss_120b")) / 1e9 == Approx(116.8).margin(0.05));
  // The published 5.1B leaves the embedding out.
  CHECK(static_cast<double>(active("gpt_oss_120b") - 201088LL * 2880) / 1e9 ==
        Approx(5.1).margin(0.05));
}

TEST_CASE("Nemotron-4 340B", "[import]") {
  const ModelSpec m = file("nemotron4_340b");
  CHECK(m.activation == Activation::kSquaredRelu);
  CHECK(m.rope_dim() == 96);
  CHECK(m.norm_bias);
  // Published: 9.4B embedding parameters, 331.6B others (arXiv 2406.11704).
  CHECK(2 * count_parameters(m).embedding == 9437184000LL);
  CHECK(static_cast<double>(count_parameters(m).total()) / 1e9 == Approx(341.0).margin(0.1));
}

TEST_CASE("Falcon, Phi-3 and StarCoder2 from their published files", "[import]") {
  const ModelSpec falcon = read_family(R"({"model_type": "falcon", "alibi": false, "bias": false,
      "hidden_size": 4544, "multi_query": true, "new_decoder_architecture": false,
      "num_attention_heads": 71, "num_hidden_layers": 32, "parallel_attn": true,
      "vocab_size": 65024})");
  // Per layer 10·4544² + 2·4544·64 and one norm of 2·4544; embedding once; final norm.
  CHECK(count_parameters(falcon).total() ==
        32 * (10LL * 4544 * 4544 + 2 * 4544 * 64 + 2 * 4544) + 65024LL * 4544 + 2 * 4544);
  CHECK(count_parameters(falcon).total() == 6921720704LL);
  CHECK(falcon.block == BlockForm::kParallelOneNorm);
  const ModelSpec falcon_40b = read_family(R"({"model_type": "falcon", "hidden_size": 8192,
      "new_decoder_architecture": true, "num_attention_heads": 128, "num_kv_heads": 8,
      "num_hidden_layers": 60, "vocab_size": 65024})");
  CHECK(falcon_40b.block == BlockForm::kParallel);
  CHECK(falcon_40b.kv_heads == 8);
  CHECK(static_cast<double>(count_parameters(falcon_40b).total()) / 1e9 ==
        Approx(41.3).margin(0.01));
  const ModelSpec phi = read_family(R"({"model_type": "phi3", "sliding_window": 2047})");
  // 32·(4·3072² + 3·3072·8192 + 2·3072) + 2·32064·3072 + 3072.
  CHECK(count_parameters(phi).total() == 3821079552LL);
  CHECK(phi.window(31) == 2047);
  const ModelSpec coder = read_family(R"({"model_type": "starcoder2", "hidden_size": 4608,
      "intermediate_size": 18432, "num_attention_heads": 36, "num_key_value_heads": 4,
      "num_hidden_layers": 32, "vocab_size": 49152, "sliding_window": 4096})");
  CHECK(count_parameters(coder).total() == 7173923840LL);
  CHECK(coder.qkv_bias);
  CHECK(contains(error_of([] {
                   read_family(R"({"model_type": "phi3", "rope_scaling": {"type": "longrope"}})");
                 }),
                 "found \"longrope\""));
}

TEST_CASE("GLM-4.5-Air and ERNIE 4.5 from their published files", "[import]") {
  const ModelSpec glm = read_family(R"({"model_type": "glm4_moe", "attention_bias": true,
      "head_dim": 128, "num_nextn_predict_layers": 1, "rope_theta": 1000000})");
  // Attention 2·4096·12288 + 2·4096·1024 and biases of 12288 + 2·1024; one dense layer of
  // 3·4096·10944; 45 of 129 experts of 3·4096·1408 and a router of 128·4097; norms 2·4096.
  const int64_t attention = 2LL * 4096 * 12288 + 2 * 4096 * 1024 + 12288 + 2 * 1024;
  const int64_t moe = 129LL * 3 * 4096 * 1408 + 128 * 4097;
  CHECK(count_parameters(glm).total() ==
        46 * (attention + 2 * 4096) + 3LL * 4096 * 10944 + 45 * moe + 2LL * 151552 * 4096 + 4096);
  CHECK(glm.rope_dim() == 64);
  CHECK_FALSE(glm.attention_out_bias);
  CHECK(glm.mtp_layers == 1);
  // Published: 12B active, which leaves out the embedding and the head.
  CHECK(static_cast<double>(count_parameters(glm).active(glm) - 2LL * 151552 * 4096) / 1e9 ==
        Approx(12.2).margin(0.05));
  const ModelSpec ernie = read_family(R"({"model_type": "ernie4_5_moe", "head_dim": null,
      "moe_layer_end_index": null})");
  CHECK(ernie.moe_layers() == 27);
  CHECK(ernie.shared_width() == 3072);
  CHECK(ernie.rope.interleaved);
  // Published: 21B, 3B active.
  CHECK(static_cast<double>(count_parameters(ernie).total()) / 1e9 == Approx(21.8).margin(0.1));
  CHECK(read_family(R"({"model_type": "ernie4_5_moe", "moe_layer_interval": 2,
      "moe_layer_end_index": 9})")
            .moe_layers() == 5);
}

TEST_CASE("Windows, sinks, biases and forms come from each family's keys", "[import]") {
  const ModelSpec oss = read_family(R"({"model_type": "gpt_oss"})");
  CHECK(oss.window(0) == 128);
  CHECK(oss.window(1) == 0);
  CHECK(oss.attention_sinks);
  CHECK(oss.activation == Activation::kClippedSwiGlu);
  CHECK(oss.rope.kind == RopeKind::kYarn);
  CHECK_FALSE(oss.rope.truncate);
  CHECK(oss.defaulted.size() == 11);
  const ModelSpec mistral = read_family(R"({"model_type": "mistral"})");
  CHECK(mistral.window(31) == 4096);
  CHECK(read_family(R"({"model_type": "mistral", "sliding_window": null})").window(0) == 0);
  const ModelSpec qwen2 = read_family(R"({"model_type": "qwen2", "use_sliding_window": true})");
  CHECK(qwen2.qkv_bias);
  CHECK_FALSE(qwen2.attention_out_bias);
  CHECK(qwen2.window(27) == 0);
  CHECK(qwen2.window(28) == 4096);
  CHECK(read_family(R"({"model_type": "qwen2"})").window(31) == 0);
  CHECK(read_family(R"({"model_type": "qwen3"})").qk_norm);
  const ModelSpec moe = read_family(R"({"model_type": "qwen2_moe", "decoder_sparse_step": 2,
      "mlp_only_layers": [3]})");
  CHECK_FALSE(moe.is_moe_layer(0));
  CHECK(moe.is_moe_layer(1));
  CHECK_FALSE(moe.is_moe_layer(3));
  CHECK(moe.moe_layers() == 11);
  CHECK(moe.shared_width() == 5632);
  CHECK(moe.shared_gate);
  const ModelSpec neox = read_family(R"({"model_type": "gpt_neox"})");
  CHECK(neox.block == BlockForm::kParallel);
  CHECK(neox.rope_dim() == 24);  // a quarter of 96
  const ModelSpec gpt2 = read_family(R"({"model_type": "gpt2"})");
  CHECK(gpt2.position == PositionKind::kLearned);
  CHECK(gpt2.activation == Activation::kGeluTanh);
  CHECK(gpt2.dropout == 0.1);
  CHECK(count_parameters(gpt2).total() == 124439808LL);  // GPT-2 small
  CHECK(read_family(R"({"model_type": "mpt"})").position == PositionKind::kAlibi);
  const ModelSpec lite = read_family(R"({"model_type": "deepseek_v2", "num_experts_per_tok": 6,
      "q_lora_rank": null})");
  CHECK(lite.q_lora_rank == 0);
  CHECK(lite.router.score == RouterScore::kSoftmax);
  CHECK_FALSE(lite.router.norm_topk_prob);
  CHECK(contains(error_of([] { read_family(R"({"model_type": "qwen3_mo"})"); }),
                 "did you mean \"qwen3_moe\"?"));
}

TEST_CASE("The own form of every model reads back as itself", "[import]") {
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(kModels)) {
    CAPTURE(entry.path());
    const ModelSpec m = file(entry.path().stem().string());
    CHECK(m.defaulted.empty());
    const std::string text = model_to_json(m);
    const ModelSpec again = read_family(text);
    CHECK(model_to_json(again) == text);
    CHECK(count_parameters(again).total() == count_parameters(m).total());
    CHECK(model_flops_per_token(again, 3000).causal == model_flops_per_token(m, 3000).causal);
    CHECK(again.family == "orrery");
    CHECK(again.defaulted.empty());
    ++seen;
  }
  CHECK(seen > 40);
}

TEST_CASE("The own form names what is missing, unknown or contradictory", "[import]") {
  const std::string base = R"({"model_type": "orrery", "hidden_size": 64, "num_hidden_layers": 2,
      "vocab_size": 100, "norm": "layer_norm", "num_attention_heads": 4, "position": "none",
      "activation": "gelu", "intermediate_size": 256)";
  const auto with = [&](const std::string& more) {
    return error_of([&] { read_family(base + more + "}"); });
  };
  CHECK(with("").empty());
  CHECK(contains(with(R"(, "ffn_bais": true)"), "ffn_bias"));
  CHECK(contains(with(R"(, "position_embedding": "rope")"), "unknown key"));
  CHECK(contains(error_of([] { read_family(R"({"model_type": "orrery"})"); }), "hidden_size"));
  CHECK(contains(with(R"(, "rotary_dim": 32)"), "32 rotated dimensions of a head of 16"));
  CHECK(contains(with(R"(, "block": "parallel", "moe": {"experts": 4, "experts_per_token": 2,
      "expert_intermediate_size": 32})"),
                 "parallel blocks with experts"));
}

TEST_CASE("A window lets a query see the keys within it", "[import]") {
  // 8 keys before and at each of 100 queries: 100·8 - 8²/2; without a window 100²/2.
  CHECK(causal_scores(100, 8) == 768);
  CHECK(causal_scores(100, 0) == 5000);
  CHECK(causal_scores(100, 100) == 5000);
  ModelSpec m = read_family(R"({"model_type": "mistral", "sliding_window": 1024})");
  const ModelFlops windowed = model_flops_per_token(m, 8192);
  m.sliding_layers.assign(32, 0);
  const ModelFlops full = model_flops_per_token(m, 8192);
  // 3 passes · 2 · 32 layers · 32 heads · (128 + 128) for each score of a token; causal 4096 of
  // them against 1024 - 64, non-causal 8192 against 1024.
  const double per_score = 3.0 * 2 * 32 * 32 * 256;
  CHECK(full.causal - windowed.causal == Approx(per_score * (4096 - 960)).epsilon(1e-12));
  CHECK(full.non_causal - windowed.non_causal == Approx(per_score * (8192 - 1024)).epsilon(1e-12));
}
