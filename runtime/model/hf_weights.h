// Weights of a training run from and to folders of Hugging Face safetensors, whatever the layout of
// the ranks. The folder's config.json is not touched.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "runtime/io/safetensors_writer.h"
#include "sim/graph/exec_plan.h"
#include "sim/spec/model.h"

namespace orrery {

// Fills all weights and router biases of a rank from `model.safetensors` or its shards. The whole
// model must be there, with its shapes and in BF16, F16 or F32; experts may be separate tensors or
// fused as transformers 5 has them in memory. Throws InputError with every tensor that is missing
// or wrong, the same on all ranks. Returns warnings, also the same on all ranks: tensors that are
// left out, other than rotary frequencies, the MTP modules of a model that is trained without them
// and the copies of embedding and head in those that it has.
std::vector<std::string> load_hf_weights(const std::string& folder, const ExecPlan& plan,
                                         const ModelSpec& model, RankState& rank);

struct HfSaveOptions {
  SafetensorsDtype dtype = SafetensorsDtype::kBF16;  // or kF32; router biases are always F32
  SafetensorsMetadata metadata = {{"format", "pt"}};
};

// Writes what this rank is responsible for: of each stage the first replica of the first ranks that
// hold it writes the dense weights, the first expert-parallel group the experts. So each tensor is
// in one of model-RRRRR-of-NNNNN.safetensors, or in model.safetensors when one rank writes all.
// Called by all ranks; rank 0 also writes the index, so the folder is whole when all have returned.
// MTP modules get no copies of embedding and head. Throws Error: kUsage when tensor parallelism
// splits matrices; kCannotCreate, also when the
// folder has a model of the other form, which readers would take instead; kIoError.
void save_hf_weights(const std::string& folder, const ExecPlan& plan, const ModelSpec& model,
                     const RankState& rank, const HfSaveOptions& options = {});

// Other numbers that belong to weights, under the weights' names.
struct HfValues {
  // All OptimizerShare::elements values of a share.
  std::function<void(int share, std::span<float> out)> share;
  // RankLayout::buffer_elements() values; empty: router biases are left out.
  std::function<void(std::span<float> out)> buffers;
};

// As save_hf_weights.
void save_hf_tensors(const std::string& folder, const ExecPlan& plan, const ModelSpec& model,
                     const RankLayout& layout, const HfValues& values,
                     const HfSaveOptions& options);

// The gradients that the rank kept of its last step, in F32. They must be whole on each owner:
// where the plan splits a share over several ranks, Error with kUsage.
void save_hf_gradients(const std::string& folder, const ExecPlan& plan, const ModelSpec& model,
                       const RankState& rank);

}  // namespace orrery
