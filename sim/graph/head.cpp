#include "sim/graph/head.h"

namespace orrery {

void head_forward(StageBuilder& b, TensorId x, const Addends& add, ParamId weight, HeadTape& t,
                  int unit, int layer, int depth) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadF, unit, layer);
  t.weight = weight;
  t.norm = b.model_norm("final_norm", m.hidden);
  t.loss = b.buffer("loss", 1, false);
  t.normed = b.norm_add(t.norm, x, add);
  t.input = x;
  const TensorId labels =
      b.map(OpKind::kLoadTokens, "load labels", {}, Dtype::kInt32, b.tokens(), 1);
  b.last_op().shape.column = depth + 1;
  const TensorId logits = b.tensor("logits", Dtype::kBf16, b.tokens(), m.vocab);
  b.gemm("head fwd", GemmLayout::kNT, {.m = b.tokens(), .n = m.vocab, .k = m.hidden}, {t.normed},
         {logits}, weight);
  const TensorId loss = b.tensor("token loss", Dtype::kFp32, b.tokens(), 1);
  // Reads the logits twice (maximum and sum, then gradient) and writes the gradient over them.
  b.op(OpKind::kCrossEntropy, "cross entropy", {.m = b.tokens(), .n = m.vocab, .index = depth},
       {logits, labels}, {loss}, t.loss);
  b.last_op().work.hbm = 3 * b.graph().tensors[logits.v].bytes;
  t.dlogits = logits;
}

TensorId head_backward(StageBuilder& b, HeadTape& t, int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadB, unit, b.graph().params[t.norm.weight.v].layer);
  const TensorId dx = b.tensor("head dgrad out", Dtype::kBf16, b.tokens(), m.hidden);
  b.gemm("head dgrad", GemmLayout::kNN, {.m = b.tokens(), .n = m.hidden, .k = m.vocab}, {t.dlogits},
         {dx}, t.weight);
  return b.norm_backward(t.norm, dx, t.input);
}

void head_wgrad(StageBuilder& b, const HeadTape& t, int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadW, unit, b.graph().params[t.norm.weight.v].layer);
  b.gemm("head wgrad", GemmLayout::kTN, {.m = m.vocab, .n = m.hidden, .k = b.tokens()},
         {t.normed, t.dlogits}, {}, t.weight);
}

TensorId embedding_forward(StageBuilder& b, ParamId table, int ahead, TensorId& ids) {
  const ModelSpec& m = b.model();
  ids = b.map(OpKind::kLoadTokens, "load token ids", {}, Dtype::kInt32, b.tokens(), 1);
  b.last_op().shape.column = ahead;
  return b.map(OpKind::kEmbedding, "embedding", {ids}, Dtype::kBf16, b.tokens(), m.hidden, table);
}

void embedding_backward(StageBuilder& b, TensorId dx, TensorId ids, ParamId table) {
  b.op(OpKind::kEmbeddingBackward, "embedding bwd", {.m = b.tokens(), .n = b.model().hidden},
       {dx, ids}, {}, table);
}

void positions_forward(StageBuilder& b, TensorId x, ParamId table) {
  b.op(OpKind::kAddPositions, "add positions",
       {.m = b.tokens(), .n = b.model().hidden, .k = b.config().plan.sequence_length}, {x}, {},
       table);
}

void positions_backward(StageBuilder& b, TensorId dx, ParamId table) {
  b.op(OpKind::kPositionsBackward, "positions bwd",
       {.m = b.tokens(), .n = b.model().hidden, .k = b.config().plan.sequence_length}, {dx}, {},
       table);
}

TensorId mtp_input_forward(StageBuilder& b, TensorId hidden, ParamId embedding_table, int depth,
                           MtpTape& t) {
  const ModelSpec& m = b.model();
  t.hidden_norm = b.model_norm("mtp hidden_norm", m.hidden);
  t.embedding_norm = b.model_norm("mtp embedding_norm", m.hidden);
  t.projection = b.linear("mtp projection", 2 * m.hidden, m.hidden);
  t.hidden = hidden;
  t.embedding = embedding_forward(b, embedding_table, depth, t.ids);
  const TensorId e = b.norm(t.embedding_norm, t.embedding);
  const TensorId h = b.norm(t.hidden_norm, hidden);
  t.joined =
      b.map(OpKind::kConcatHeads, "mtp concat", {e, h}, Dtype::kBf16, b.tokens(), 2 * m.hidden);
  b.last_op().shape.first = m.hidden;
  return b.linear_forward(t.projection, t.joined);
}

TensorId mtp_input_backward(StageBuilder& b, TensorId dx, ParamId embedding_table, MtpTape& t) {
  const TensorId djoined = b.linear_dgrad(t.projection, dx);
  t.wgrads.push_back({t.projection, b.prepare_wgrad(t.projection, t.joined, dx)});
  const TensorId de = b.norm_backward(t.embedding_norm, djoined, t.embedding);
  embedding_backward(b, de, t.ids, embedding_table);
  return b.norm_backward(t.hidden_norm, djoined, t.hidden, {}, b.model().hidden);
}

}  // namespace orrery
