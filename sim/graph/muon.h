// Muon (Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) scaled as Moonlight
// does (arXiv 2502.16982, section 2.2): matrices of hidden layers move along an orthogonalised
// momentum. Of a matrix W [rows, cols] with gradient G (clipped), momentum M:
//   M = mu M + G;  U = G + mu M
//   X = U / (|U|_F + 1e-7), in BF16 from here on
//   newton_schulz_steps times:  A = X Xᵀ;  B = b A + c A A;  X = a X + B X
//   W -= lr weight_decay W + lr 0.2 sqrt(max(rows, cols)) X
// with (a, b, c) = (3.4445, -4.7750, 2.0315). A matrix with more rows than columns is taken from
// its other side: A = Xᵀ X and X = a X + X B. With r the shorter and c the longer side a step is
// three products, r x c x r, r x r x r and r x r x c: 4 r² c + 2 r³ FLOPs.
//
// A parameter is orthogonalised as it is stored: each expert on its own; gate and up, or keys and
// values, as one matrix where one product computes them. The rest (embedding, head, learned
// positions, norms, biases, single rows) is AdamW's.
//
// With ZeRO-1 whole matrices go to ranks (Megatron's layer-wise distributed optimizer): gradients
// of equal matrices are reduced to the rank that has them and weights gathered from there, so that
// no more travels than with AdamW. Each of N ranks has at most ceil(n / N) of n equal matrices;
// with fewer matrices than ranks the last ranks have none, and the step lasts as long as the
// first's.
#pragma once

#include "sim/graph/state_copies.h"

namespace orrery {

// Whether Muon updates the parameter.
bool is_muon_matrix(const Param& p);
// Of one of its matrices, and how many it has.
MatrixStack matrices_of(const Param& p);

struct NewtonSchulz {
  static constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  static constexpr double norm_floor = 1e-7;
  static constexpr double update_rms = 0.2;  // AdamW's, as Moonlight matches it
};

// OpShape::column of kNewtonSchulz. Its operands: gram X; square A; apply B, X.
enum class NewtonSchulzProduct : int64_t { kGram, kSquare, kApply };

// How a matrix of that shape is multiplied: the layout of a product, its sides the shape's.
struct NewtonSchulzShape {
  GemmLayout layout;
  int64_t m, n, k;
};
NewtonSchulzShape newton_schulz_shape(NewtonSchulzProduct p, int64_t rows, int64_t cols);

// Matrices of a share that one op works on: batches of at most kMuonBatchElements, but one matrix
// at least. OpShape of all Muon ops: `index` the share, `first` the first matrix among those that a
// rank owns, `groups` how many, of which a rank that owns fewer has what there are.
constexpr int64_t kMuonBatchElements = int64_t{1} << 26;
int64_t muon_batch_matrices(const MatrixStack& m);

// Appends the update of share number `index`: `after` is what its first op waits for, the step's
// statistics first; the last ops write `updated`. States in host memory are the last input of
// kMuonMomentum and kMuonUpdate.
void muon_update(StageBuilder& b, const PlanSpec& plan, const OptimizerShare& share, int64_t index,
                 StateCopies& copies, const std::vector<TensorId>& after, TensorId updated);

}  // namespace orrery
