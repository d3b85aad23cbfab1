// The analytic tier: a lower bound of a plan's step in closed form, in microseconds per plan.
//
// What an op costs comes from the models that the simulation uses, each op at its fastest; what a
// layer costs is found once per AnalyticCosts, by letting its ops run on streams of their own with
// nothing in their way. A plan's step is then the largest, over pipeline ranks, of
//   head + work - late + tail     and     head + work,          plus the optimizer
//   head   forward of the earlier stages for one micro-batch, with their transfers (latency +
//          bytes / rate): before it the rank has nothing to do
//   work   the rank's calls, one after the other. A call is at least the longest path through its
//          layers, each from its first compute op to where the next layer may start, exposed
//          communication included; at least its compute; an overlapped pair at least the compute
//          of both (on the SMs that communication leaves) and at least its all-to-alls
//   late   weight gradients that the schedule lets run after the last gradient left the rank
//   tail   backward of the earlier stages after that
// None of it can be faster in the simulation, so the bound holds for every plan but for rounding to
// picoseconds (property test). Ignored, and so the gap to the simulation: waiting of ranks for each
// other inside the pipeline, kernels slowed down by what runs beside them, spread of expert loads,
// the gradient collectives.
#pragma once

#include <vector>

#include "sim/exec/sim_timing.h"
#include "sim/schedule/schedule.h"
#include "sim/study/experiment.h"

namespace orrery {

// How often each rank of a pipeline does what: all that the bound needs of a schedule. Depends on
// the schedule, the ranks and the micro-batches alone. O(steps) to make.
struct ScheduleShape {
  struct Rank {
    std::vector<int> stages;  // of its chunks
    int first_chunk = 0;      // of the first forward
    int last_chunk = 0;       // of the last backward
    // Calls per chunk: forward alone, backward alone in full, its input part, its weight part.
    std::vector<int64_t> forward, backward, input, weight;
    std::vector<int64_t> pairs;         // [forward chunk * chunks + backward chunk]
    std::vector<int64_t> late_weights;  // weight parts after the last backward
    bool last_in_full = false;          // the last backward has its weight gradients with it
    bool last_in_pair = false;          // ... and a forward
  };
  std::vector<Rank> ranks;
  std::vector<bool> local;       // per stage: a rank holds it and the next
  bool splits_backward = false;  // anywhere
  bool known_order = true;       // of the calls; else only their numbers hold
};
ScheduleShape schedule_shape(const PlanSpec& plan);

struct AnalyticStep {
  double step_s = 0;
  int rank = 0;  // the pipeline rank that bounds it
  // Of that rank: calls, of these compute, and waiting at both ends of the pipeline.
  double work_s = 0, compute_s = 0, bubble_s = 0;
  double optimizer_s = 0;
};

// The costs of every layer of a model under everything in a plan but how it is spread over pipeline
// and data-parallel ranks. One holds for all plans that differ only in pipeline_parallel,
// layers_per_stage, data_parallel, global_batch and the schedule. O(ops of the model) to make;
// immutable, so it may be shared by threads.
class AnalyticCosts {
 public:
  explicit AnalyticCosts(const StudySpec& study);

  // O(ranks · chunks). `shape` is that of the plan.
  AnalyticStep step(const PlanSpec& plan, const ScheduleShape& shape) const;

 private:
  // Seconds of one micro-batch in one layer, or in the head with the MTP modules.
  struct Layer {
    double forward = 0;      // from its input to where the next layer may start
    double forward_end = 0;  // to the end of its compute
    double forward_out = 0;  // to its output on the way to the next stage
    double backward = 0;     // to its input's gradient, kept waiting by late_ of the layer before
    double input = 0;        // the same without weight gradients
    double late = 0;         // compute after its input's gradient
    double weight = 0;       // compute of the weight gradients
    double compute_forward = 0, compute_backward = 0;    // the sum of its compute ops
    double pair_forward = 0, pair_backward = 0;          // the same beside all-to-alls
    double transfer_forward = 0, transfer_backward = 0;  // the sum of its all-to-alls
    double optimizer = 0;                                // AdamW with all states on one rank
  };
  // The sum of a stage's layers, but: `forward` ends with the compute, `forward_out` with the
  // transfer to the next stage, and `late` is what is left when the gradient leaves the stage.
  using Stage = Layer;
  static constexpr double Layer::*kParts[] = {&Layer::forward,
                                              &Layer::backward,
                                              &Layer::input,
                                              &Layer::weight,
                                              &Layer::compute_forward,
                                              &Layer::compute_backward,
                                              &Layer::pair_forward,
                                              &Layer::pair_backward,
                                              &Layer::transfer_forward,
                                              &Layer::transfer_backward,
                                              &Layer::optimizer};
  struct Run;
  void add_layer(const ExecPlan& plan, const PlanTiming& alone, const PlanTiming& paired,
                 std::size_t stage);
  Stage stage(std::size_t first, std::size_t end) const;

  std::vector<Layer> layers_;
  std::vector<Layer> sums_;  // sums_[i]: of the layers before i
  double late_ = 0;          // the least of any layer
  double hop_ = 0;           // a micro-batch across a stage boundary
};

// One plan on its own.
AnalyticStep analytic_step(const StudySpec& study);

}  // namespace orrery
