// Weights, gradients and optimizer states of a CPU rank, and the ops of the optimizer step.
#pragma once

#include <vector>

#include "runtime/cpu/op_call.h"

namespace orrery {

template <class T>
struct CpuState {
  CpuState(const ExecPlan& plan, int64_t rank);
  // The owned shard of the weights becomes the master weights.
  void take_master(std::size_t share);
  // The owned shard of the gradients.
  T* owned_gradients(std::size_t share);

  RankLayout layout;
  // Per share: gathered weights (with sharded weights: as of the last restore or write), what
  // kernels read, and gradients, whole or the owned shard; then of the owned shard: master weights,
  // moments (v of Muon's shares is empty), and a copy of the reduced gradients.
  std::vector<std::vector<T>> weights, kernel, grads, master, m, v, reduced;
  std::vector<std::vector<uint8_t>> decay;  // per 128 elements of the share
  std::vector<T> buffers;
  StepResult result;
};

// From the step's statistics, the first input of ops that update weights, to the step's result.
template <class T>
void take_results(OpCall<T>& c, CpuState<T>& state);

// Where an op that updates weights finds the states of `n` parameters, from the `first` that the
// rank owns on: in its last input when they come from host memory, else where they are held.
template <class T>
struct StateView {
  T* master = nullptr;
  T* m = nullptr;
  T* v = nullptr;  // of Muon's shares nullptr
};
template <class T>
StateView<T> states_of(OpCall<T>& c, CpuState<T>& state, int64_t first, int64_t n);

// kLoadStates, kStoreStates.
template <class T>
void copy_states(OpCall<T>& c, CpuState<T>& state);

template <class T>
void run_muon_op(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step);

// False when the op is not the optimizer's.
template <class T>
bool run_optimizer_op(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step);

}  // namespace orrery
