#include "sim/graph/muon.h"

#include <algorithm>

namespace orrery {
namespace {

constexpr int64_t kFp32Bytes = 4;
constexpr int64_t kBf16Bytes = 2;
constexpr int64_t kPartialSums = 256;  // of a matrix's squares, FP32

class Batch {
 public:
  Batch(StageBuilder& b, const PlanSpec& plan, const OptimizerShare& share, int64_t index,
        int64_t first, int64_t count)
      : b_(b), plan_(plan), share_(share), stack_(share.matrices), count_(count) {
    at_.index = index, at_.first = first, at_.groups = count;
  }

  void add(StateCopies& copies, std::vector<TensorId> after, TensorId updated) {
    TensorId states;
    if (copies.on()) {
      states = copies.next();
      after.push_back(states);
    }
    TensorId x = normalised(after);
    for (int64_t i = 0; i < plan_.dp.newton_schulz_steps; ++i) {
      const TensorId gram = product(NewtonSchulzProduct::kGram, "newton-schulz gram", {x});
      const TensorId square = product(NewtonSchulzProduct::kSquare, "newton-schulz square", {gram});
      x = product(NewtonSchulzProduct::kApply, "newton-schulz apply", {square, x});
    }
    std::vector<TensorId> in = {x}, out = {updated};
    if (copies.on()) in.push_back(states), out.push_back(copies.changed());
    b_.op(OpKind::kMuonUpdate, "muon update",
          elementwise(kBf16Bytes + 2 * kFp32Bytes + (plan_.dp.shards_weights() ? 0 : kBf16Bytes)),
          in, out);
    mark();
    if (copies.on()) copies.store(out.back());
  }

 private:
  TensorId workspace(const char* name, Dtype dtype, int64_t rows, int64_t cols) {
    return b_.tensor(name, dtype, rows, cols, BufferKind::kWorkspace);
  }
  TensorId matrices(const char* name) {
    return workspace(name, Dtype::kBf16, count_ * stack_.rows, stack_.cols);
  }
  void mark() { b_.last_op().unit = static_cast<int16_t>(share_.chunk); }

  // m elements of n bytes.
  OpShape elementwise(int64_t bytes) const {
    OpShape s = at_;
    s.m = count_ * stack_.elements_of_one();
    s.n = bytes;
    return s;
  }

  TensorId normalised(const std::vector<TensorId>& after) {
    const TensorId update = matrices("muon momentum"), x = matrices("muon x");
    const TensorId squares = workspace("muon sums of squares", Dtype::kFp32, count_, kPartialSums);
    const int64_t moment = plan_.moments == MomentDtype::kBf16 ? 2 : 4;
    b_.op(OpKind::kMuonMomentum, "muon momentum",
          elementwise(held_gradient_bytes(plan_) + 2 * moment + kBf16Bytes), after,
          {update, squares});
    mark();
    b_.op(OpKind::kMuonNormalise, "muon normalise", elementwise(2 * kBf16Bytes), {update, squares},
          {x});
    mark();
    return x;
  }

  TensorId product(NewtonSchulzProduct p, const char* name, const std::vector<TensorId>& in) {
    const NewtonSchulzShape one = newton_schulz_shape(p, stack_.rows, stack_.cols);
    OpShape s = at_;
    s.column = static_cast<int64_t>(p);
    s.m = count_ * one.m, s.n = one.n, s.k = one.k;
    const TensorId out = workspace(name, Dtype::kBf16, s.m, s.n);
    b_.op(OpKind::kNewtonSchulz, name, s, in, {out});
    b_.last_op().layout = one.layout;
    mark();
    return out;
  }

  StageBuilder& b_;
  const PlanSpec& plan_;
  const OptimizerShare& share_;
  const MatrixStack& stack_;
  int64_t count_;
  OpShape at_;
};

}  // namespace

bool is_muon_matrix(const Param& p) {
  const MatrixStack m = matrices_of(p);
  return p.trained && p.init == ParamInit::kNormal && m.rows > 1 && m.cols > 1 &&
         p.name != kEmbeddingParam && p.name != kHeadParam && p.name != kPositionsParam;
}

MatrixStack matrices_of(const Param& p) { return {p.rows / p.groups, p.cols, p.groups}; }

NewtonSchulzShape newton_schulz_shape(NewtonSchulzProduct p, int64_t rows, int64_t cols) {
  const bool tall = rows > cols;
  const int64_t r = std::min(rows, cols), c = std::max(rows, cols);
  switch (p) {
    case NewtonSchulzProduct::kGram:
      return {tall ? GemmLayout::kTN : GemmLayout::kNT, r, r, c};
    case NewtonSchulzProduct::kSquare:  // A is symmetric
      return {GemmLayout::kNT, r, r, r};
    case NewtonSchulzProduct::kApply:  // B too
      break;
  }
  if (tall) return {GemmLayout::kNT, c, r, r};
  return {GemmLayout::kNN, r, c, r};
}

int64_t muon_batch_matrices(const MatrixStack& m) {
  return std::max<int64_t>(1, kMuonBatchElements / m.elements_of_one());
}

void muon_update(StageBuilder& b, const PlanSpec& plan, const OptimizerShare& share, int64_t index,
                 StateCopies& copies, const std::vector<TensorId>& after, TensorId updated) {
  const int64_t one = share.matrices.elements_of_one();
  for (const UpdateChunk& c : update_chunks(plan, share))
    Batch(b, plan, share, index, c.first / one, c.elements / one).add(copies, after, updated);
}

}  // namespace orrery
