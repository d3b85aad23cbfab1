// Muon's ops: of the matrices of a batch those that the rank owns.
#include "kernels/optimizer/muon_reference.h"
#include "runtime/cpu/optimizer_ops.h"
#include "runtime/model/muon_batch.h"

namespace orrery {
namespace {

template <class T>
MuonBatch batch_of(const OpCall<T>& c, const CpuState<T>& state) {
  return muon_batch(c.shape(), state.layout);
}

template <class T>
std::size_t share_of(const OpCall<T>& c) {
  return static_cast<std::size_t>(c.shape().index);
}

template <class T>
void momentum(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  const MuonBatch b = batch_of(c, state);
  take_results(c, state);
  kernels::MuonMomentumReference<T> p;
  p.n = b.elements();
  p.momentum = states_of(c, state, b.begin, b.elements()).m;
  p.grads = state.owned_gradients(share_of(c)) + b.begin;
  p.update = c.out[0]->resize(b.matrices * b.rows, b.cols);
  c.out[1]->resize(0, 0);  // kernels' parts of the norm
  p.mu = step.momentum;
  p.norm_squared = c.input(0);
  p.max_norm = step.max_grad_norm;
  kernels::muon_momentum_reference<T>(p);
}

template <class T>
void normalise(OpCall<T>& c, CpuState<T>& state) {
  const MuonBatch b = batch_of(c, state);
  T* x = c.out[0]->resize(b.matrices * b.rows, b.cols);
  for (int64_t i = 0; i < b.matrices; ++i)
    kernels::normalise_reference<T>(b.one(), c.input(0) + i * b.one(), NewtonSchulz::norm_floor,
                                    x + i * b.one());
}

template <class T>
void product(OpCall<T>& c, CpuState<T>& state) {
  const MuonBatch b = batch_of(c, state);
  const NewtonSchulzTerm t = newton_schulz_term(c.shape(), b);
  T* out = c.out[0]->resize(b.matrices * t.shape.m, t.shape.n);
  const auto layout = static_cast<kernels::Layout>(t.shape.layout);
  for (int64_t i = 0; i < b.matrices; ++i) {
    const auto of = [&](int operand, int64_t size) {
      return c.input(static_cast<std::size_t>(operand)) + i * size;
    };
    kernels::scaled_product_reference<T>(layout, t.shape.m, t.shape.n, t.shape.k, t.alpha,
                                         of(t.a, t.a_elements()), of(t.b, t.b_elements()), t.beta,
                                         of(t.c, t.c_elements()), out + i * t.c_elements());
  }
}

template <class T>
void update_matrices(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  const MuonBatch b = batch_of(c, state);
  const auto i = share_of(c);
  const int64_t begin = state.layout.shard_begin(static_cast<int>(i)) + b.begin;
  for (HostTensor<T>* token : c.out) token->resize(0, 0);
  kernels::muon_update_reference<T>(
      b.elements(), c.input(0), step.lr, step.lr * b.rate(), step.weight_decay,
      states_of(c, state, b.begin, b.elements()).master, state.weights[i].data() + begin);
}

}  // namespace

template <class T>
void run_muon_op(OpCall<T>& c, CpuState<T>& state, const OptimizerStep& step) {
  switch (c.op.kind) {
    case OpKind::kMuonMomentum:
      return momentum(c, state, step);
    case OpKind::kMuonNormalise:
      return normalise(c, state);
    case OpKind::kNewtonSchulz:
      return product(c, state);
    default:
      return update_matrices(c, state, step);
  }
}

template void run_muon_op(OpCall<float>&, CpuState<float>&, const OptimizerStep&);
template void run_muon_op(OpCall<double>&, CpuState<double>&, const OptimizerStep&);

}  // namespace orrery
