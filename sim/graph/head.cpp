#include "sim/graph/head.h"

namespace orrery {
namespace {

// Vocabulary of this rank: its rows of the embedding and of the head.
int64_t local_vocab(const StageBuilder& b) { return b.model().vocab / b.tensor_parallel(); }

// Ids of the tokens `ahead` positions on.
TensorId load_ids(StageBuilder& b, const char* name, int64_t ahead) {
  const TensorId ids = b.map(OpKind::kLoadTokens, name, {}, Dtype::kInt32, b.tokens(), 1);
  b.last_op().shape.column = ahead;
  if (b.tensor_parallel() > 1) b.last_op().shape.first = local_vocab(b);
  return ids;
}

// Logits, or gradients of as many, in FP32.
TensorId fp32_logits(StageBuilder& b, const char* name) {
  return b.tensor(name, Dtype::kFp32, b.tokens(), b.model().vocab, BufferKind::kWorkspace);
}

// LossKernel::kEager. The numbers of each token that the second op needs are those of a vocabulary
// in one part; the FP32 tensors are what PyTorch's kernels hold meanwhile.
void eager_cross_entropy(StageBuilder& b, TensorId logits, TensorId labels, TensorId loss,
                         ParamId total, int depth) {
  const OpShape shape{.m = b.tokens(), .n = b.model().vocab, .index = depth};
  const Bytes bytes = b.graph().tensors[logits.v].bytes;
  const TensorId part = b.tensor("cross entropy part", Dtype::kFp32, b.tokens(), 3);
  const TensorId up = fp32_logits(b, "fp32 logits");
  const TensorId log_softmax = fp32_logits(b, "log-softmax");
  b.op(OpKind::kCrossEntropyPart, "log-softmax", shape, {logits, labels}, {part, up, log_softmax});
  b.last_op().work.hbm = bytes;
  const TensorId grad = fp32_logits(b, "log-softmax grad");
  const TensorId up_grad = fp32_logits(b, "fp32 logits grad");
  b.op(OpKind::kCrossEntropyMerge, "cross entropy bwd", shape, {logits, labels, part, log_softmax},
       {loss, grad, up_grad}, total);
  b.last_op().work.hbm = 2 * bytes;
}

// Over a split vocabulary every rank brings three numbers of each token, as Transformer Engine's
// parallel cross-entropy does: its largest logit, the sum of exponentials below it, the label's.
void split_cross_entropy(StageBuilder& b, TensorId logits, TensorId labels, TensorId loss,
                         ParamId total, int depth) {
  const OpShape shape{.m = b.tokens(), .n = local_vocab(b), .index = depth};
  const Bytes bytes = b.graph().tensors[logits.v].bytes;
  const TensorId part = b.tensor("cross entropy part", Dtype::kFp32, b.tokens(), 3);
  b.op(OpKind::kCrossEntropyPart, "cross entropy part", shape, {logits, labels}, {part});
  b.last_op().work.hbm = bytes;
  const TensorId parts = b.tensor_all_gather("cross entropy", part);
  b.op(OpKind::kCrossEntropyMerge, "cross entropy merge", shape, {logits, labels, parts}, {loss},
       total);
  b.last_op().work.hbm = 2 * bytes;
}

}  // namespace

ParamId vocabulary_param(StageBuilder& b, std::string name) {
  return b.sharded_param(std::move(name), Dtype::kBf16, local_vocab(b), b.model().hidden,
                         {ShardAxis::kRows, b.tensor_parallel()});
}

void head_forward(StageBuilder& b, TensorId x, const Addends& add, ParamId weight, HeadTape& t,
                  int unit, int layer, int depth) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadF, unit, layer);
  t.weight = weight;
  t.norm = b.model_norm("final_norm", m.hidden);
  t.loss = b.buffer("loss", 1, false);
  t.normed = b.norm_add(t.norm, x, add);
  t.input = x;
  const TensorId labels = load_ids(b, "load labels", depth + 1);
  const TensorId input = b.gather_rows("head input", t.normed);
  const TensorId logits = b.tensor("logits", Dtype::kBf16, b.tokens(), local_vocab(b));
  b.gemm("head fwd", GemmLayout::kNT, {.m = b.tokens(), .n = local_vocab(b), .k = m.hidden},
         {input}, {logits}, weight);
  const TensorId loss = b.tensor("token loss", Dtype::kFp32, b.tokens(), 1);
  t.dlogits = logits;
  if (b.tensor_parallel() > 1) return split_cross_entropy(b, logits, labels, loss, t.loss, depth);
  const LossKernel kernel = b.config().stack.loss_kernel;
  if (kernel == LossKernel::kEager)
    return eager_cross_entropy(b, logits, labels, loss, t.loss, depth);
  std::vector<TensorId> out = {loss};
  if (kernel == LossKernel::kCompiled)
    out.push_back(
        b.tensor("logits grad", Dtype::kBf16, b.tokens(), m.vocab, BufferKind::kWorkspace));
  b.op(OpKind::kCrossEntropy, "cross entropy", {.m = b.tokens(), .n = m.vocab, .index = depth},
       {logits, labels}, std::move(out), t.loss);
  // Logits are read for the maximum and the sum, then for the gradient, which is written.
  const int passes = kernel == LossKernel::kResident ? 2 : 3;
  b.last_op().work.hbm = passes * b.graph().tensors[logits.v].bytes;
}

TensorId head_backward(StageBuilder& b, HeadTape& t, int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadB, unit, b.graph().params[t.norm.weight.v].layer);
  const TensorId dx = b.tensor("head dgrad out", Dtype::kBf16, b.tokens(), m.hidden);
  b.gemm("head dgrad", GemmLayout::kNN, {.m = b.tokens(), .n = m.hidden, .k = local_vocab(b)},
         {t.dlogits}, {dx}, t.weight);
  t.wgrad_input = b.gather_rows("head input again", t.normed);
  return b.norm_backward(t.norm, b.reduce_partial("head input grad", dx), t.input);
}

void head_wgrad(StageBuilder& b, const HeadTape& t, int unit) {
  const ModelSpec& m = b.model();
  b.begin(SegmentKind::kHeadW, unit, b.graph().params[t.norm.weight.v].layer);
  b.gemm("head wgrad", GemmLayout::kTN, {.m = local_vocab(b), .n = m.hidden, .k = b.tokens()},
         {t.wgrad_input, t.dlogits}, {}, t.weight);
}

TensorId embedding_forward(StageBuilder& b, ParamId table, int ahead, TensorId& ids) {
  const ModelSpec& m = b.model();
  ids = load_ids(b, "load token ids", ahead);
  return b.reduce_partial("embedding", b.map(OpKind::kEmbedding, "embedding", {ids}, Dtype::kBf16,
                                             b.tokens(), m.hidden, table));
}

void embedding_backward(StageBuilder& b, TensorId dx, TensorId ids, ParamId table) {
  dx = b.gather_rows("embedding grad", dx);
  b.op(OpKind::kEmbeddingBackward, "embedding bwd", {.m = b.tokens(), .n = b.model().hidden},
       {dx, ids}, {}, table);
}

void positions_forward(StageBuilder& b, TensorId x, ParamId table) {
  b.op(OpKind::kAddPositions, "add positions",
       {.m = b.stream_rows(), .n = b.model().hidden, .k = b.config().plan.sequence_length}, {x}, {},
       table);
}

void positions_backward(StageBuilder& b, TensorId dx, ParamId table) {
  b.op(OpKind::kPositionsBackward, "positions bwd",
       {.m = b.stream_rows(), .n = b.model().hidden, .k = b.config().plan.sequence_length}, {dx},
       {}, table);
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
  t.joined = b.map(OpKind::kConcatHeads, "mtp concat", {e, h}, Dtype::kBf16, b.stream_rows(),
                   2 * m.hidden);
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
