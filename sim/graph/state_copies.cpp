#include "sim/graph/state_copies.h"

#include <algorithm>

#include "sim/graph/muon.h"

namespace orrery {
namespace {

constexpr std::size_t kChunksOnGpu = 2;

}  // namespace

std::vector<UpdateChunk> update_chunks(const PlanSpec& plan, const OptimizerShare& share) {
  const int64_t owned = share.owned(), n = plan.dp.offload_chunk_parameters;
  int64_t each = owned;
  if (share.muon())
    each = muon_batch_matrices(share.matrices) * share.matrices.elements_of_one();
  else if (plan.dp.offload_optimizer)
    each = (n + kShareAlignment - 1) / kShareAlignment * kShareAlignment;
  std::vector<UpdateChunk> chunks;
  for (int64_t first = 0; first < owned; first += each)
    chunks.push_back({first, std::min(each, owned - first)});
  return chunks;
}

StateCopies::StateCopies(StageBuilder& b, const PlanSpec& plan,
                         const std::vector<OptimizerShare>& shares)
    : b_(b), plan_(plan) {
  if (!on()) return;
  for (std::size_t i = 0; i < shares.size(); ++i)
    for (const UpdateChunk& c : update_chunks(plan, shares[i]))
      copies_.push_back({{.m = c.elements,
                          .n = optimizer_state_bytes(plan, shares[i].muon()),
                          .first = c.first,
                          .index = static_cast<int64_t>(i)},
                         static_cast<int16_t>(shares[i].chunk),
                         {},
                         {}});
}

void StateCopies::load(std::size_t i) {
  Copy& c = copies_[i];
  c.states = b_.tensor("optimizer states", Dtype::kBf16, 1, c.shape.m * c.shape.n / 2,
                       BufferKind::kOptimizer);
  std::vector<TensorId> after;
  if (i >= kChunksOnGpu) after.push_back(copies_[i - kChunksOnGpu].stored);
  b_.stream(StreamKind::kHostToDevice);
  b_.op(OpKind::kLoadStates, "load states", c.shape, std::move(after), {c.states});
  b_.last_op().unit = c.model_chunk;
  b_.stream(StreamKind::kCompute);
}

TensorId StateCopies::next() {
  for (; loaded_ < std::min(taken_ + kChunksOnGpu, copies_.size()); ++loaded_) load(loaded_);
  return copies_[taken_++].states;
}

TensorId StateCopies::changed() {
  return b_.tensor("changed states", Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
}

void StateCopies::store(TensorId changed) {
  Copy& c = copies_[taken_ - 1];
  c.stored = b_.tensor("stored states", Dtype::kFp32, 1, 1, BufferKind::kWorkspace);
  b_.stream(StreamKind::kDeviceToHost);
  b_.op(OpKind::kStoreStates, "store states", c.shape, {c.states, changed}, {c.stored});
  b_.last_op().unit = c.model_chunk;
  b_.stream(StreamKind::kCompute);
}

}  // namespace orrery
