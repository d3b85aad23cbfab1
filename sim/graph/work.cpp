#include "sim/graph/work.h"

#include "sim/base/casts.h"
#include "sim/spec/model.h"

namespace orrery {
namespace {

Bytes sum_bytes(const StageGraph& g, std::span<const TensorId> ids) {
  Bytes b{0};
  for (TensorId t : ids) b += g.tensors[t.v].bytes;
  return b;
}

Bytes param_bytes(const StageGraph& g, const Op& op) {
  if (!op.param.valid()) return Bytes(0);
  const Param& p = g.params[op.param.v];
  return tensor_bytes(p.dtype, p.rows, p.cols);
}

AccessPattern pattern_of(OpKind k) {
  switch (k) {
    case OpKind::kRmsNorm:
    case OpKind::kRmsNormBackward:
    case OpKind::kRmsNormReduce:
    case OpKind::kLayerNorm:
    case OpKind::kLayerNormBackward:
    case OpKind::kLayerNormReduce:
    case OpKind::kBiasBackward:
    case OpKind::kReduceHeads:
    case OpKind::kCrossEntropy:
    case OpKind::kCrossEntropyPart:
    case OpKind::kCrossEntropyMerge:
      return AccessPattern::kRowReduce;
    case OpKind::kCast:
    case OpKind::kCastE5M6:
    case OpKind::kCastBackE5M6:
    case OpKind::kCastBack:
    case OpKind::kSwiGluCast:
    case OpKind::kActivationCast:
      return AccessPattern::kCast;
    case OpKind::kCastTranspose:
    case OpKind::kCastBoth:
    case OpKind::kSwiGluCastTranspose:
    case OpKind::kActivationCastTranspose:
      return AccessPattern::kCastTranspose;
    case OpKind::kTransposeFp8:
    case OpKind::kTransposeScales:
      return AccessPattern::kTranspose;
    case OpKind::kRope:
    case OpKind::kRopeBackward:
      return AccessPattern::kStrided;
    case OpKind::kPermute:
    case OpKind::kUnpermute:
    case OpKind::kEmbedding:
    case OpKind::kEmbeddingBackward:
      return AccessPattern::kGather;
    case OpKind::kSwiGlu:
    case OpKind::kSwiGluBackward:
    case OpKind::kSwiGluWeightBackward:
      return AccessPattern::kGatedMap;
    default:
      return AccessPattern::kStream;
  }
}

Flops attention_flops(const OpShape& s, bool backward) {
  const double scores = d(s.m) * d(s.k) * causal_scores(s.n, s.window);
  const double dims = backward ? d(3 * s.d_qk + 2 * s.d_v) : d(s.d_qk + s.d_v);
  return Flops(2 * scores * dims);  // causal, or a later step of a ring
}

}  // namespace

int64_t op_elements(const Op& op) {
  const OpShape& s = op.shape;
  switch (op.kind) {
    case OpKind::kAttention:
    case OpKind::kAttentionBackward:
      return s.m * s.n * s.k * s.d_v;
    case OpKind::kRope:
    case OpKind::kRopeBackward:
      return s.m * s.groups * s.n;
    case OpKind::kAdamW:
    case OpKind::kMuonMomentum:
    case OpKind::kMuonNormalise:
    case OpKind::kMuonUpdate:
      return s.m;
    default:
      return s.m * s.n;
  }
}

OpWork op_work(const StageGraph& g, const Op& op) {
  const OpShape& s = op.shape;
  const Bytes in = sum_bytes(g, g.inputs(op));
  const Bytes out = sum_bytes(g, g.outputs(op));
  OpWork w;
  w.pattern = pattern_of(op.kind);
  w.hbm = in + out + param_bytes(g, op);
  switch (op.kind) {
    case OpKind::kGemm:
    case OpKind::kGemmFp8:
    case OpKind::kNewtonSchulz:
      w.flops = Flops(2 * d(s.m) * d(s.n) * d(s.k));
      break;
    case OpKind::kGemmFp8Wgrad:
      w.flops = Flops(2 * d(s.m) * d(s.n) * d(s.k));
      w.hbm = in + Bytes(8 * s.m * s.n);
      break;
    case OpKind::kAttention:
    case OpKind::kAttentionBackward:
      w.flops = attention_flops(s, op.kind == OpKind::kAttentionBackward);
      break;
    case OpKind::kRope:
    case OpKind::kRopeBackward:  // in place on n columns of each head
      w.hbm = Bytes(4 * s.m * s.groups * s.n);
      w.contiguous = w.hbm == 2 * in;
      break;
    case OpKind::kCopy:  // these read only what they write
    case OpKind::kLoadTokens:
    case OpKind::kConcatHeads:
    case OpKind::kEmbedding:
      w.hbm = 2 * out;
      break;
    case OpKind::kEmbeddingBackward:  // BF16 rows added to FP32 gradients
      w.hbm = in + Bytes(8 * s.m * s.n);
      break;
    case OpKind::kAddPositions:  // in place; every sequence reads the same vectors
      w.hbm = 2 * in + Bytes(2 * s.k * s.n);
      break;
    case OpKind::kPositionsBackward:  // FP32 gradients
      w.hbm = in + Bytes(8 * s.k * s.n);
      break;
    case OpKind::kTransposeFp8:  // input: the weight; output: the same bytes
      w.hbm = 2 * param_bytes(g, op);
      break;
    case OpKind::kTransposeScales:
      w.hbm = 2 * out;
      break;
    case OpKind::kNotify:
    case OpKind::kDispatch:
    case OpKind::kCombine:
    case OpKind::kSend:
    case OpKind::kRecv:
    case OpKind::kReduceScatter:
    case OpKind::kAllGather:
    case OpKind::kRingExchange:
    case OpKind::kScatterHeads:
    case OpKind::kGatherHeads:
    case OpKind::kAllReduce:
      w.network = Bytes(s.m * s.n);  // m rows of n bytes
      break;
    case OpKind::kLoadStates:
    case OpKind::kStoreStates:
      w.hbm = w.host = Bytes(s.m * s.n);  // m parameters of n bytes each
      break;
    case OpKind::kStoreActivations:
    case OpKind::kLoadActivations:
      w.hbm = w.host = in;
      break;
    case OpKind::kGradNorm:
    case OpKind::kAdamW:
    case OpKind::kMuonMomentum:
    case OpKind::kMuonNormalise:
    case OpKind::kMuonUpdate:
    case OpKind::kUnscale:
    case OpKind::kCastWeights:
    case OpKind::kRouterBias:
    case OpKind::kZeroGrad:
      w.hbm = Bytes(s.m * s.n);  // m parameters of n bytes each
      break;
    default:
      break;
  }
  return w;
}

}  // namespace orrery
