#include "sim/graph/head.h"

namespace orrery {

void head_forward(StageBuilder& b, TensorId x, const Addends& add, ParamId weight, HeadTape& t,
                  int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadF, unit, -1);
  t.weight = weight;
  t.norm = b.param("final_norm.weight", Dtype::kBf16, 1, m.hidden);
  t.normed = b.rms_norm_add("final_norm", x, add, t.norm);
  t.input = x;
  const TensorId logits = b.tensor("logits", Dtype::kBf16, b.tokens(), m.vocab);
  b.op(OpKind::kGemm, "head fwd", {.m = b.tokens(), .n = m.vocab, .k = m.hidden}, {t.normed},
       {logits}, weight);
  // Reads the logits twice (maximum and sum, then gradient) and writes the gradient over them.
  b.op(OpKind::kCrossEntropy, "cross entropy", {.m = b.tokens(), .n = m.vocab}, {logits}, {});
  b.graph().ops.back().work.hbm = 3 * b.graph().tensors[logits.v].bytes;
  t.dlogits = logits;
}

TensorId head_backward(StageBuilder& b, HeadTape& t, int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadB, unit, -1);
  const TensorId dx = b.tensor("head dgrad out", Dtype::kBf16, b.tokens(), m.hidden);
  b.op(OpKind::kGemm, "head dgrad", {.m = b.tokens(), .n = m.hidden, .k = m.vocab}, {t.dlogits},
       {dx}, t.weight);
  return b.rms_norm_backward("final_norm", dx, t.input, t.norm);
}

void head_wgrad(StageBuilder& b, const HeadTape& t, int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadW, unit, -1);
  b.op(OpKind::kGemm, "head wgrad", {.m = m.vocab, .n = m.hidden, .k = b.tokens()},
       {t.dlogits, t.normed}, {}, t.weight);
  b.graph().ops.back().work.hbm += Bytes(8 * m.vocab * m.hidden);  // FP32 accumulator
}

TensorId embedding_forward(StageBuilder& b, ParamId table) {
  const ModelSpec& m = b.model();
  const TensorId ids = b.tensor("token ids", Dtype::kInt64, b.tokens(), 1);
  b.op(OpKind::kCopy, "load token ids", {.m = b.tokens(), .n = 1}, {}, {ids});
  return b.map(OpKind::kEmbedding, "embedding", {ids}, Dtype::kBf16, b.tokens(), m.hidden, table);
}

void embedding_backward(StageBuilder& b, TensorId dx, ParamId table) {
  b.op(OpKind::kEmbeddingBackward, "embedding bwd", {.m = b.tokens(), .n = b.model().hidden}, {dx},
       {}, table);
}

TensorId mtp_input_forward(StageBuilder& b, TensorId hidden, ParamId embedding_table, MtpTape& t) {
  const ModelSpec& m = b.model();
  t.hidden_norm = b.param("mtp hidden_norm.weight", Dtype::kBf16, 1, m.hidden);
  t.embedding_norm = b.param("mtp embedding_norm.weight", Dtype::kBf16, 1, m.hidden);
  t.projection = b.linear("mtp projection", 2 * m.hidden, m.hidden);
  t.hidden = hidden;
  t.embedding = embedding_forward(b, embedding_table);
  const TensorId h = b.rms_norm("mtp hidden_norm", hidden, t.hidden_norm);
  const TensorId e = b.rms_norm("mtp embedding_norm", t.embedding, t.embedding_norm);
  t.joined =
      b.map(OpKind::kConcatHeads, "mtp concat", {h, e}, Dtype::kBf16, b.tokens(), 2 * m.hidden);
  return b.linear_forward(t.projection, t.joined);
}

TensorId mtp_input_backward(StageBuilder& b, TensorId dx, ParamId embedding_table, MtpTape& t) {
  const TensorId djoined = b.linear_dgrad(t.projection, dx);
  t.wgrads.push_back({t.projection, b.prepare_wgrad(t.projection, t.joined, dx)});
  const TensorId de =
      b.rms_norm_backward("mtp embedding_norm", djoined, t.embedding, t.embedding_norm);
  embedding_backward(b, de, embedding_table);
  return b.rms_norm_backward("mtp hidden_norm", djoined, t.hidden, t.hidden_norm);
}

}  // namespace orrery
