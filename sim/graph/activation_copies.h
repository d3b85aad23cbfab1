// Activations in host memory (ActivationOffload): what the backward reads of a unit's forward is
// copied to the host as soon as it is written, and comes back into memory of its own before that
// backward.
//
// Order (sim/schedule/offload_order.h): the forward of a layer ends when the copies of the layer
// before have ended, as in Transformer Engine, which waits before it frees, and Megatron-Core's
// fine_grained_offloading_max_inflight_offloads: at most two layers' tensors wait to leave. A
// layer's tensors come back during the backward of the layer above, those of a stage's last layer
// beside the step of the schedule before, what weight gradients alone read with the rest.
// Embedding, head, loss and token ids stay.
//
// Time of a copy: bytes / NodeSpec::host_copy_per_rank(), one after the other in each direction,
// optimizer states (state_copies.h) among them.
#pragma once

#include <utility>
#include <vector>

#include "sim/graph/blocks.h"

namespace orrery {

// Which tensors of a stage's forward which module keeps. A tensor that two modules keep belongs to
// the first of them that is added.
class ModuleTensors {
 public:
  void add(const AttentionTape& attention, const FfnTape& ffn, bool moe);
  // nullptr: of no module.
  const OffloadModule* find(TensorId t) const;

 private:
  void add(OffloadModule m, std::initializer_list<TensorId> tensors);
  std::vector<std::pair<TensorId, OffloadModule>> of_;
};

// Adds to a finished stage the segments kOffloadF, of the unit that writes what they copy, and
// kReloadB, of the unit whose backward is the first to read it. Per tensor one kStoreActivations to
// a tensor of BufferKind::kHost and one kLoadActivations from it, whose result the backward reads
// instead. `last_stage`: see ActivationOffload::layers. O(ops + tensors).
StageGraph with_activation_copies(const GraphConfig& config, StageGraph graph,
                                  const ModuleTensors& modules, bool last_stage);

}  // namespace orrery
