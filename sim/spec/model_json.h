// Orrery's own form of a model, for architectures that no Hugging Face family describes:
//
//   {"model_type": "orrery",
//    "hidden_size": 12288, "num_hidden_layers": 96, "vocab_size": 51200,
//    "tie_word_embeddings": true,                     default false
//    "norm": "layer_norm", "norm_bias": true,         rms_norm, layer_norm; default false
//    "norm_eps": 1e-5,                                default 1e-5
//    "block": "sequential",                           the default; parallel, parallel_one_norm
//    "attention": "gqa",                              the default (MHA: as many key-value heads),
//    mla "num_attention_heads": 96, "num_key_value_heads": 96,                       gqa; default
//    num_attention_heads "head_dim": 128,                                 gqa; default hidden_size
//    / heads "v_head_dim": 128,                               default head_dim; mla: required
//    "q_lora_rank": 0, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,    mla
//    "qk_norm": false, "qkv_bias": true, "attention_out_bias": true, "attention_sinks": false,
//    "sliding_window": 4096, "sliding_layers": [0, 2],   gqa; layers that have it, default all
//    "position": "learned",                           rope, learned, alibi, none
//    "max_position_embeddings": 2048,                 required for learned
//    "rotary_dim": 64,                                gqa; default head_dim
//    "rope": {"theta": 10000, "kind": "default", ...},   the fields of RopeSpec
//    "activation": "gelu",                            swiglu, clipped_swiglu, gelu, gelu_tanh,
//                                                     squared_relu
//    "activation_limit": 7, "ffn_bias": true,
//    "intermediate_size": 49152,
//    "moe": {"experts": 64, "experts_per_token": 6, "expert_intermediate_size": 1408,
//            "shared_experts": 2, "shared_intermediate_size": 2816, "shared_gate": false,
//            "dense_layers": 1, "layer_freq": 1, "layer_offset": 0, "dense_layer_list": [],
//            "groups": 1, "top_groups": 1,
//            "score": "softmax", "norm_topk_prob": true, "routed_scaling_factor": 1,
//            "bias_balancing": false, "linear_bias": false, "aux_loss": 0.01,
//            "capacity_factor": 0, "pad_to_capacity": false},
//    "mtp_layers": 0, "dropout": 0.1, "attention_dropout": 0, "initializer_range": 0.02,
//    "note": "where the sizes come from"}
//
// What has no default above and belongs to the chosen attention is required; switches are off
// unless given. An unknown key is an error that names the nearest one.
#pragma once

#include <string>

#include "sim/base/json_reader.h"
#include "sim/spec/model.h"

namespace orrery {

// Reads the form above; `name` and `family` are left to the caller.
void read_model_json(json::Reader& r, ModelSpec& m);

// The form with every field given. Reading it back gives the same model (but for `name`, `family`
// and `defaulted`), so writing that gives the same text.
std::string model_to_json(const ModelSpec& m);

}  // namespace orrery
