// Muon's ops: of the matrices of a batch those that the rank owns.
#include "kernels/gemm/batched.h"
#include "kernels/optimizer/muon.h"
#include "runtime/cuda/op_call.h"
#include "runtime/model/muon_batch.h"

namespace orrery {
namespace {

CudaWeights::Share& share_of(CudaOpCall& c) {
  return c.weights.shares()[static_cast<std::size_t>(c.shape().index)];
}

void momentum(CudaOpCall& c, const MuonBatch& b, const OptimizerStep& step) {
  CudaWeights::Share& s = share_of(c);
  const bool bf16 = c.weights.bf16_moments();
  kernels::MuonMomentumParams p;
  p.matrices = b.matrices;
  p.elements = b.one();
  p.momentum = states_of(c, s, b.begin, b.elements()).m;
  p.moments = bf16 ? kernels::MomentType::kBf16 : kernels::MomentType::kFp32;
  p.grads = s.grads.as<float>() + s.begin + b.begin;
  p.update = c.out[0]->bf16();
  p.squares = c.out[1]->f32();
  p.mu = step.momentum;
  p.norm_squared = c.in[0]->f32();
  p.max_norm = step.max_grad_norm;
  launch_check(kernels::muon_momentum(p, c.stream));
  take_statistics(c);
}

void normalise(CudaOpCall& c, const MuonBatch& b) {
  launch_check(kernels::muon_normalise({.matrices = b.matrices,
                                        .elements = b.one(),
                                        .update = c.in[0]->bf16(),
                                        .squares = c.in[1]->f32(),
                                        .floor = NewtonSchulz::norm_floor,
                                        .x = c.out[0]->bf16()},
                                       c.stream));
}

void product(CudaOpCall& c, const MuonBatch& b) {
  const NewtonSchulzTerm t = newton_schulz_term(c.shape(), b);
  const auto operand = [&](int i) { return c.in[static_cast<std::size_t>(i)]->bf16(); };
  launch_check(kernels::batched_gemm_bf16(c.gemm,
                                          {.layout = static_cast<kernels::Layout>(t.shape.layout),
                                           .batch = b.matrices,
                                           .m = t.shape.m,
                                           .n = t.shape.n,
                                           .k = t.shape.k,
                                           .alpha = static_cast<float>(t.alpha),
                                           .beta = static_cast<float>(t.beta),
                                           .a = operand(t.a),
                                           .b = operand(t.b),
                                           .c = operand(t.c),
                                           .d = c.out[0]->bf16()},
                                          c.stream));
}

void update(CudaOpCall& c, const MuonBatch& b, const OptimizerStep& step) {
  CudaWeights::Share& s = share_of(c);
  kernels::bf16* weights = c.fp8() ? c.out[0]->bf16() : s.weights.as<kernels::bf16>();
  kernels::MuonUpdateParams p;
  p.n = b.elements();
  p.x = c.in[0]->bf16();
  p.master = states_of(c, s, b.begin, b.elements()).master;
  p.weights_out = weights + s.begin + b.begin;
  p.lr = step.lr;
  p.rate = step.lr * b.rate();
  p.weight_decay = step.weight_decay;
  launch_check(kernels::muon_update(p, c.stream));
}

}  // namespace

void launch_muon_op(CudaOpCall& c, const OptimizerStep& step) {
  const MuonBatch b = muon_batch(c.shape(), c.weights.layout());
  switch (c.op.kind) {
    case OpKind::kMuonMomentum:
      return momentum(c, b, step);
    case OpKind::kMuonNormalise:
      return normalise(c, b);
    case OpKind::kNewtonSchulz:
      return product(c, b);
    default:
      return update(c, b, step);
  }
}

}  // namespace orrery
