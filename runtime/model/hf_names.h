// Where the model's weights are in Hugging Face checkpoints: the names of transformers for
// deepseek_v3 (with the MTP modules of DeepSeek's own checkpoint), llama and mixtral.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/graph/exec_plan.h"
#include "sim/spec/model.h"

namespace orrery {

// A matrix of a checkpoint that is a part of one of ours.
struct HfMatrix {
  std::string name;            // "model.layers.3.mlp.experts.7.up_proj.weight"
  std::vector<int64_t> shape;  // of the tensor: [n], [rows, cols] or [experts, rows, cols]
  int64_t index = 0;           // of the matrix, in a tensor of several
  bool transposed = false;     // ours has its columns as rows
  int64_t row = 0, col = 0;    // of its first element in ours

  int64_t rows() const { return shape.size() < 2 ? 1 : shape[shape.size() - 2]; }
  int64_t cols() const { return shape.back(); }
};

// transformers 5 has the experts of a layer in one tensor in memory, and writes it so on request.
enum class HfExperts : uint8_t { kSeparate, kFused };

// The matrices that together are the one [rows / groups, cols] of `p` that belongs to `expert`, a
// number in the layer (0 for weights that are no expert's). Empty for what is no part of the model.
// Throws InputError for a family or an architecture that has no names.
std::vector<HfMatrix> hf_matrices(const ModelSpec& m, const Param& p, int64_t expert,
                                  HfExperts experts = HfExperts::kSeparate);

// All tensors of the model in the order of its stages, each name once.
std::vector<HfMatrix> hf_model_tensors(const ModelSpec& m, const ExecPlan& plan, HfExperts experts);

// DeepSeek's checkpoint repeats embedding and head in each MTP module: the name of the tensor that
// `name` must equal; "" for all others.
std::string_view hf_shared_tensor(const ModelSpec& m, std::string_view name);

// The layer that "model.layers.<n>...." names; -1 for other names.
int64_t hf_layer(std::string_view name);

}  // namespace orrery
