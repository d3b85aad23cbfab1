// Optimizer states in host memory: to the CPU backend a copy of its arrays.
#include <algorithm>

#include "runtime/cpu/optimizer_ops.h"

namespace orrery {
namespace {

// The share's arrays, one after the other in a tensor of loaded states.
template <class T>
std::vector<std::vector<T>*> arrays_of(CpuState<T>& state, std::size_t share) {
  std::vector<std::vector<T>*> all = {&state.master[share], &state.m[share]};
  if (!state.layout.rank_class().shares[share].muon()) all.push_back(&state.v[share]);
  return all;
}

}  // namespace

template <class T>
StateView<T> states_of(OpCall<T>& c, CpuState<T>& state, int64_t first, int64_t n) {
  const auto i = static_cast<std::size_t>(c.shape().index);
  std::vector<T*> at;
  for (std::vector<T>* a : arrays_of(state, i))
    at.push_back(c.config.plan.dp.offload_optimizer
                     ? c.in.back()->values.data() + n * static_cast<int64_t>(at.size())
                     : a->data() + first);
  return {at[0], at[1], at.size() > 2 ? at[2] : nullptr};
}

template <class T>
void copy_states(OpCall<T>& c, CpuState<T>& state) {
  const auto i = static_cast<std::size_t>(c.shape().index);
  const ShardRange part = owned_part(c.shape(), state.layout);
  const auto arrays = arrays_of(state, i);
  const bool load = c.op.kind == OpKind::kLoadStates;
  if (load)
    c.out[0]->resize(static_cast<int64_t>(arrays.size()), part.elements);
  else
    c.out[0]->resize(0, 0);
  T* at = (load ? c.out : c.in)[0]->values.data();
  for (std::vector<T>* a : arrays) {
    T* held = a->data() + part.begin;
    std::copy_n(load ? held : at, part.elements, load ? at : held);
    at += part.elements;
  }
}

template StateView<float> states_of(OpCall<float>&, CpuState<float>&, int64_t, int64_t);
template StateView<double> states_of(OpCall<double>&, CpuState<double>&, int64_t, int64_t);
template void copy_states(OpCall<float>&, CpuState<float>&);
template void copy_states(OpCall<double>&, CpuState<double>&);

}  // namespace orrery
