#include "runtime/model/muon_batch.h"

#include <algorithm>
#include <cmath>

namespace orrery {

double MuonBatch::rate() const {
  return NewtonSchulz::update_rms * std::sqrt(static_cast<double>(std::max(rows, cols)));
}

MuonBatch muon_batch(const OpShape& op, const RankLayout& layout) {
  const auto share = static_cast<int>(op.index);
  const MatrixStack& m = layout.rank_class().shares[static_cast<std::size_t>(op.index)].matrices;
  const int64_t mine = layout.owned(share).elements / m.elements_of_one();
  const int64_t first = std::min(op.first, mine);
  return {first * m.elements_of_one(), std::min(op.groups, mine - first), m.rows, m.cols};
}

NewtonSchulzTerm newton_schulz_term(const OpShape& op, const MuonBatch& batch) {
  const auto product = static_cast<NewtonSchulzProduct>(op.column);
  NewtonSchulzTerm t;
  t.shape = newton_schulz_shape(product, batch.rows, batch.cols);
  switch (product) {
    case NewtonSchulzProduct::kGram:  // of X; C is not read
      break;
    case NewtonSchulzProduct::kSquare:  // b A + c A·A
      t.alpha = NewtonSchulz::c, t.beta = NewtonSchulz::b;
      break;
    case NewtonSchulzProduct::kApply:  // a X + B·X, or of a tall X a X + X·B
      t.beta = NewtonSchulz::a;
      t.c = 1;
      (batch.rows > batch.cols ? t.a : t.b) = 1;
      break;
  }
  return t;
}

}  // namespace orrery
