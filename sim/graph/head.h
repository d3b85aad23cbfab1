// The ends of the model: embedding, head with its loss, and multi-token-prediction modules.
#pragma once

#include "sim/graph/blocks.h"

namespace orrery {

struct HeadTape {
  StageBuilder::Norm norm;
  ParamId weight, loss;
  TensorId input, normed, dlogits;
  TensorId wgrad_input;  // normed, of all rows
};

// [vocabulary, hidden] of the embedding or the head, split by tokens of the vocabulary.
ParamId vocabulary_param(StageBuilder& b, std::string name);

// Final norm, head GEMM in BF16 and cross-entropy, which leaves the gradient of the logits in their
// place. `weight` is the head's matrix (shared by the MTP modules' heads). `depth` 0 is the trunk's
// head, which predicts the next token; the head of MTP module d, at depth d, predicts d + 1 ahead.
void head_forward(StageBuilder& b, TensorId x, const Addends& add, ParamId weight, HeadTape& tape,
                  int unit, int layer, int depth);
// Returns the gradient of the residual stream.
TensorId head_backward(StageBuilder& b, HeadTape& tape, int unit);
void head_wgrad(StageBuilder& b, const HeadTape& tape, int unit);

// The tape of an embedding: the ids of the tokens `ahead` positions further on.
TensorId embedding_forward(StageBuilder& b, ParamId table, int ahead, TensorId& ids);
void embedding_backward(StageBuilder& b, TensorId dx, TensorId ids, ParamId table);
// Learned position vectors, added in place to the embedding's rows.
void positions_forward(StageBuilder& b, TensorId x, ParamId table);
void positions_backward(StageBuilder& b, TensorId dx, ParamId table);

// What a multi-token-prediction module puts before its transformer layer (arXiv 2412.19437, 2.2):
// norms of the next token's embedding and of the hidden state, joined and projected from 2h to h.
struct MtpTape {
  StageBuilder::Norm hidden_norm, embedding_norm;
  StageBuilder::Linear projection;
  TensorId hidden, embedding, joined, ids;
  std::vector<PendingWgrad> wgrads;
};
TensorId mtp_input_forward(StageBuilder& b, TensorId hidden, ParamId embedding_table, int depth,
                           MtpTape& tape);
// Returns the gradient of the hidden state.
TensorId mtp_input_backward(StageBuilder& b, TensorId dx, ParamId embedding_table, MtpTape& tape);

}  // namespace orrery
