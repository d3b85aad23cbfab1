// What a training loop needs of a backend: steps, and access to the weights and optimizer states of
// the ranks in this process.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/model/rank_layout.h"
#include "runtime/model/step.h"
#include "sim/exec/trace.h"

namespace orrery {

enum class StateKind : uint8_t { kMaster, kFirstMoment, kSecondMoment };
constexpr int kStateKinds = 3;

// One rank. All calls are collective-free and wait for the device.
class RankState {
 public:
  virtual ~RankState() = default;
  virtual const RankLayout& layout() const = 0;

  // The gathered weights of a share, OptimizerShare::elements values; every owner has them all.
  virtual void read_weights(int share, std::span<float> out) const = 0;
  // Replaces weights, the owned master weights and what kernels read; moments stay.
  virtual void write_weights(int share, std::span<const float> values) = 0;

  // The owned shard as stored, RankLayout::owned() values of FP32 or of the plan's moment type; of
  // Muon's shares there is no second moment.
  virtual std::size_t state_bytes(int share, StateKind kind) const = 0;
  virtual void read_state(int share, StateKind kind, std::span<std::byte> out) const = 0;
  // After all states of all shares: restore() makes weights of the master weights of all owners.
  virtual void write_state(int share, StateKind kind, std::span<const std::byte> bytes) = 0;

  // Buffers that ops update (router biases, loads, losses), RankLayout::buffer_elements() values.
  virtual void read_buffers(std::span<float> out) const = 0;
  virtual void write_buffers(std::span<const float> values) = 0;

  // This rank's shard of the last step's reduced gradients, before clipping. Kept only when asked
  // for (ExecutorOptions::keep_gradients).
  virtual void read_gradients(int share, std::span<float> out) const = 0;
};

struct ExecutorOptions {
  uint64_t seed = 0;            // of the initial weights
  bool keep_gradients = false;  // readable after the step
  bool record = false;          // steps may be recorded
  // Only this rank of the plan runs, with a fake process group: every collective does what it does
  // on this rank as if its peers were copies of it, and nothing is sent. Numbers mean nothing then.
  std::optional<int64_t> fake_group_rank = {};
};

struct DeviceMemory {
  int64_t allocated_peak_bytes = 0;  // of the last step, static memory included
  int64_t reserved_bytes = 0;        // taken from the device
};

class Executor {
 public:
  virtual ~Executor() = default;
  // The ranks that live in this process, ascending.
  virtual std::vector<RankState*> local_ranks() = 0;
  // One step on them, with the other processes' ranks. Every process gets the same result.
  virtual StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer) = 0;
  // Weights of all ranks from the master weights of their owners, after write_state(). Collective.
  virtual void restore() = 0;
  virtual void barrier() = 0;
  virtual DeviceMemory memory() const = 0;
  // Whether the steps from here on are recorded, which slows them down.
  virtual void set_recording(bool) {}
  // Of the last step, when recorded: those of the local ranks, rank after rank.
  virtual std::vector<OpRecord> take_records() = 0;
};

}  // namespace orrery
