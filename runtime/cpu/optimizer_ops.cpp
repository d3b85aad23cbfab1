#include "runtime/cpu/optimizer_ops.h"

#include <algorithm>
#include <cmath>

#include "kernels/optimizer/adamw_reference.h"
#include "kernels/optimizer/sgd_reference.h"
#include "runtime/model/decay.h"
#include "runtime/model/zeroed_gradients.h"

namespace orrery {

template <class T>
CpuState<T>::CpuState(const ExecPlan& plan, int64_t rank) : layout(plan, rank) {
  for (const OptimizerShare& s : layout.rank_class().shares) {
    const auto all = static_cast<std::size_t>(s.elements);
    const auto owned =
        static_cast<std::size_t>(layout.owned(static_cast<int>(weights.size())).elements);
    weights.emplace_back(all);
    kernel.emplace_back(all);
    grads.emplace_back(static_cast<std::size_t>(s.held_gradients()));
    master.emplace_back(owned);
    m.emplace_back(owned);
    v.emplace_back(s.muon() ? 0 : owned);
    reduced.emplace_back(owned);
    decay.push_back(decay_chunks(plan.stages[static_cast<std::size_t>(s.stage)], s));
  }
  buffers.assign(static_cast<std::size_t>(layout.buffer_elements()), T(0));
}

namespace {

template <class T>
std::size_t shard_begin(const CpuState<T>& state, std::size_t share) {
  return static_cast<std::size_t>(state.layout.shard_begin(static_cast<int>(share)));
}

// Sum of squares of the owned gradients; a shard that several ranks own counts once in all.
template <class T>
void grad_norm(OpCall<T>& c, CpuState<T>& state) {
  const auto i = static_cast<std::size_t>(c.shape().index);
  const OptimizerShare& s = state.layout.rank_class().shares[i];
  const StageGraph& g = *state.layout.stage_graph(s.stage);
  T* out = c.out[0]->resize(1, c.graph.tensors[c.graph.outputs(c.op)[0].v].cols);
  if (i > 0)
    std::copy(c.in.back()->values.begin(), c.in.back()->values.end(), out);
  else
    for (const RankLayout::Loss& l : state.layout.losses())
      out[1 + l.depth] = std::exchange(state.buffers[static_cast<std::size_t>(l.offset)], T(0));
  const ShardRange owned = state.layout.owned(static_cast<int>(i));
  T* grads = state.owned_gradients(i);
  state.reduced[i].assign(grads, grads + owned.elements);
  const double scale = static_cast<double>(s.shards) / static_cast<double>(s.owners);
  for (const NormRange& r : norm_ranges(g, s, owned, c.at.tensor))
    out[0] += kernels::sum_squares_reference<T>(r.elements, grads + r.begin, static_cast<T>(scale));
}

template <class T>
void moments(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  const auto i = static_cast<std::size_t>(c.shape().index);
  const ShardRange part = owned_part(c.shape(), state.layout);
  const std::size_t begin = shard_begin(state, i) + static_cast<std::size_t>(part.begin);
  const StateView<T> states = states_of(c, state, part.begin, part.elements);
  kernels::AdamWReference<T> a;
  a.n = part.elements;
  a.master = states.master;
  a.m = states.m;
  a.v = states.v;
  a.grads = state.owned_gradients(i) + part.begin;
  a.weights_out = state.weights[i].data() + begin;
  a.decay = state.decay[i].data() + begin / kShareAlignment;
  a.lr = step.lr, a.beta1 = step.beta1, a.beta2 = step.beta2, a.eps = step.eps;
  a.weight_decay = step.weight_decay;
  a.step = step.step;
  a.norm_squared = c.input(0);
  a.max_norm = step.max_grad_norm;
  kernels::adamw_reference<T>(a);
}

template <class T>
void sgd(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  const auto i = static_cast<std::size_t>(c.shape().index);
  const std::size_t begin = shard_begin(state, i);
  kernels::SgdReference<T> a;
  a.n = static_cast<int64_t>(state.master[i].size());
  a.master = state.master[i].data();
  a.grads = state.owned_gradients(i);
  a.weights_out = state.weights[i].data() + begin;
  a.decay = state.decay[i].data() + begin / kShareAlignment;
  a.lr = step.lr, a.weight_decay = step.weight_decay;
  a.norm_squared = c.input(0);
  a.max_norm = step.max_grad_norm;
  kernels::sgd_reference<T>(a);
}

template <class T>
void update(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  if (c.config.plan.dp.optimizer == OptimizerKind::kSgd)
    sgd(c, state, step);
  else
    moments(c, state, step);
  for (HostTensor<T>* token : c.out) token->resize(0, 0);
  take_results(c, state);
}

template <class T>
void zero_gradients(CpuState<T>& state) {
  const std::vector<OptimizerShare>& shares = state.layout.rank_class().shares;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    std::vector<T>& grads = state.grads[i];
    if (shares[i].gradients_sharded) {
      std::fill(grads.begin(), grads.end(), T(0));
      continue;
    }
    for (const ElementRange& r :
         zeroed_gradients(*state.layout.stage_graph(shares[i].stage), shares[i]))
      std::fill_n(grads.begin() + r.begin, r.elements, T(0));
  }
}

template <class T>
void router_bias(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  const int64_t experts = c.config.model.experts;
  const int chunk = c.op.unit;
  const int stage = state.layout.rank_class().stage_of_chunk[static_cast<std::size_t>(chunk)];
  const StageGraph& g = *state.layout.stage_graph(stage);
  const RankLayout::Range range = state.layout.router_loads(chunk);
  const auto loads = state.buffers.begin() + range.offset;
  const std::vector<float> counts_of_step(loads, loads + range.elements);
  state.result.expert_load =
      std::max(state.result.expert_load, busiest_expert(counts_of_step, experts));
  for (uint32_t i = 0; i < g.params.size(); ++i) {
    if (g.params[i].name != "router.bias") continue;
    const ParamId load = g.find_param("router.load", g.params[i].layer);
    T* counts = state.buffers.data() + state.layout.find(stage, load).offset;
    T* bias = state.buffers.data() + state.layout.find(stage, {i}).offset;
    kernels::router_bias_update_reference<T>(experts, counts, bias,
                                             static_cast<T>(step.router_bias_rate));
    std::fill(counts, counts + experts, T(0));
  }
}

}  // namespace

template <class T>
void take_results(OpCall<T>& c, CpuState<T>& state) {
  const auto tokens =
      static_cast<double>(c.config.plan.global_batch * c.config.plan.sequence_length);
  if (c.shape().index == 0) state.result.expert_load = 0;
  state.result.grad_norm = std::sqrt(static_cast<double>(c.input(0)[0]));
  state.result.losses.clear();
  for (std::size_t d = 1; d < c.in[0]->values.size(); ++d)
    state.result.losses.push_back(static_cast<double>(c.input(0)[d]) / tokens);
}

template <class T>
T* CpuState<T>::owned_gradients(std::size_t share) {
  const bool sharded = layout.rank_class().shares[share].gradients_sharded;
  return grads[share].data() + (sharded ? 0 : shard_begin(*this, share));
}

template <class T>
void CpuState<T>::take_master(std::size_t share) {
  const std::size_t begin = shard_begin(*this, share);
  std::copy_n(weights[share].begin() + static_cast<std::ptrdiff_t>(begin), master[share].size(),
              master[share].begin());
}

template <class T>
bool run_optimizer_op(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  switch (c.op.kind) {
    case OpKind::kGradNorm:
      return grad_norm(c, state), true;
    case OpKind::kAdamW:
      return update(c, state, step), true;
    case OpKind::kLoadStates:
    case OpKind::kStoreStates:
      return copy_states(c, state), true;
    case OpKind::kMuonMomentum:
    case OpKind::kMuonNormalise:
    case OpKind::kNewtonSchulz:
    case OpKind::kMuonUpdate:
      return run_muon_op(c, state, step), true;
    case OpKind::kZeroGrad:
      return zero_gradients(state), true;
    case OpKind::kUnscale:      // there is no loss scale in FP32
    case OpKind::kCastWeights:  // the caller copies them
      return true;
    case OpKind::kRouterBias:
      return router_bias(c, state, step), true;
    default:
      return false;
  }
}

template struct CpuState<float>;
template struct CpuState<double>;
template void take_results(OpCall<float>&, CpuState<float>&);
template void take_results(OpCall<double>&, CpuState<double>&);
template bool run_optimizer_op(OpCall<float>&, CpuState<float>&, const OptimizerStep&);
template bool run_optimizer_op(OpCall<double>&, CpuState<double>&, const OptimizerStep&);

}  // namespace orrery
