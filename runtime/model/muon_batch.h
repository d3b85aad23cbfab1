// What an op of Muon works on in one rank: of the batch of matrices that the plan names those that
// the rank owns, and the operands of a product of the Newton-Schulz iteration.
#pragma once

#include "runtime/model/rank_layout.h"
#include "sim/graph/muon.h"

namespace orrery {

struct MuonBatch {
  int64_t begin = 0;  // first element, from the start of the rank's shard
  int64_t matrices = 0;
  int64_t rows = 0, cols = 0;

  int64_t one() const { return rows * cols; }
  int64_t elements() const { return matrices * one(); }
  // The step along the orthogonalised update for a learning rate of 1.
  double rate() const;
};
MuonBatch muon_batch(const OpShape& op, const RankLayout& layout);

// D = alpha A·B + beta C: which inputs of the op A, B and C are.
struct NewtonSchulzTerm {
  NewtonSchulzShape shape;
  double alpha = 1, beta = 0;
  int a = 0, b = 0, c = 0;

  int64_t a_elements() const { return shape.m * shape.k; }
  int64_t b_elements() const { return shape.n * shape.k; }
  int64_t c_elements() const { return shape.m * shape.n; }
};
NewtonSchulzTerm newton_schulz_term(const OpShape& op, const MuonBatch& batch);

}  // namespace orrery
