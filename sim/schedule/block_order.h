// The order in which a block runs the segments of its stages.
#pragma once

#include "sim/schedule/block_emitter.h"

namespace orrery {

enum class Weights : uint8_t { kNow, kLater };        // gradients in the backward, or in kWeight
enum class Transfers : uint8_t { kPipeline, kNone };  // to the neighbouring stages

// Whether compute that does not depend on an all-to-all goes on beside it (the shared expert,
// weight gradients), or waits as if both were on one stream.
enum class AllToAlls : uint8_t { kBeside, kAlone };

// Segments of one unit in the order in which one stream would run them.
void add_forward(BlockEmitter& e, const ExecPlan& plan, const StageAt& at, AllToAlls how);
void add_backward(BlockEmitter& e, const ExecPlan& plan, const StageAt& at, Weights weights,
                  AllToAlls how);
void add_weight(BlockEmitter& e, const ExecPlan& plan, const StageAt& at);

// The overlapped pair (arXiv 2412.19437, figure 4, and the order seen in deepseek-ai/profile-data):
// unit by unit, the forward of the one micro-batch hides the all-to-alls of the other's backward.
void add_pair(BlockEmitter& e, const ExecPlan& plan, const StageAt& forward,
              const StageAt& backward, Transfers transfers);

}  // namespace orrery
