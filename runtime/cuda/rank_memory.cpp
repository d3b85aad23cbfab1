// Where a rank's tensors are: taken from its pools and given back as the plan says.
#include <algorithm>

#include "kernels/quant/cast.h"
#include "runtime/cuda/cuda_rank.h"

namespace orrery {

int64_t CudaRank::device_bytes(Dtype dtype, int64_t rows, int64_t cols, int64_t groups) {
  const int64_t tiles = kernels::tiles(cols);
  switch (dtype) {
    case Dtype::kFp8Row:
      return scale_offset(rows * cols) + 4 * rows * tiles;
    case Dtype::kFp8Block:
      return scale_offset(rows * cols) + 4 * groups * kernels::tiles(rows / groups) * tiles;
    case Dtype::kE5M6:
      return scale_offset(rows * kernels::e5m6_row_bytes(cols)) + 4 * rows * tiles;
    default:
      return tensor_bytes(dtype, rows, cols).count();
  }
}

// The most that the plan's tensors hold there at once. Rows that the router decides count twice
// where they are not known beforehand. What leaves for host memory is there until a stream waits
// for the copies: with less memory the pool would make the compute stream wait sooner.
int64_t CudaRank::planned_bytes(MemoryPool::Of of) {
  std::vector<int64_t> held(tensors_.size(), 0);
  std::vector<uint8_t> readers(tensors_.size(), 0);
  int64_t now = 0, most = 0, leaving = 0;
  const RankClass& c = weights_.layout().rank_class();
  for (const Call& call : c.calls) {
    call_ = call;
    for (const Instr& i : c.blocks[call.block].instrs) {
      const bool leaves = i.stream == StreamKind::kDeviceToHost;
      if (leaves && i.kind == Instr::Kind::kRecord && i.role == Role::kBlock)
        now -= std::exchange(leaving, 0);
      if (i.kind != Instr::Kind::kAlloc && i.kind != Instr::Kind::kFree) continue;
      const std::size_t at = slot(i.role) * stride_ + i.arg;
      const Tensor& t = plan_.stages[static_cast<std::size_t>(stage(i.role))].tensors[i.arg];
      if ((t.kind == BufferKind::kHost) != (of == MemoryPool::Of::kPinned)) continue;
      if (i.kind == Instr::Kind::kAlloc) {
        const bool dynamic =
            t.dynamic_rows != DynamicRows::kNone || t.dynamic_cols != DynamicRows::kNone;
        held[at] = (dynamic ? 2 : 1) * device_bytes(t.dtype, t.rows, t.cols, t.groups) + 512;
        readers[at] = t.readers;
        most = std::max(most, now += held[at]);
      } else if (--readers[at] == 0) {
        const int64_t bytes = std::exchange(held[at], 0);
        leaves ? leaving += bytes : now -= bytes;
      }
    }
  }
  // Scratch of ops and what fragmentation costs.
  return most + most / 8 + (int64_t{64} << 20);
}

int64_t CudaRank::free_bytes() {
  std::size_t left = 0, total = 0;
  cuda_check(cudaMemGetInfo(&left, &total), "asking for free memory");
  return static_cast<int64_t>(left / 10 * 9);
}

CudaRouting& CudaRank::routing(Role role, int16_t unit) {
  CudaRouting& r = routing_[slot(role) * stride_ + static_cast<std::size_t>(unit)];
  if (config_.plan.expert_parallel == 1 && r.arrived == 0) {
    // All tokens are here; the host never learns how many rows each expert gets.
    r.arrived = config_.plan.rows_per_rank();
    r.member_rows.clear();
    for (int64_t m = 0; m <= config_.plan.expert_tensor_parallel; ++m)
      r.member_rows.push_back(m * r.arrived);
    r.expanded = kernels::expert_layout_capacity(r.gathered(), config_.model.experts_per_token,
                                                 config_.model.experts, kExpertRowAlignment);
  }
  return r;
}

char* CudaRank::take(MemoryPool& pool, int64_t bytes, StreamKind s, bool at_once) {
  Stream& on = stream(s);
  for (;;) {
    const MemoryPool::Block b = pool.allocate(bytes, static_cast<int>(s), on.clock);
    if (b.data != nullptr) return b.data;
    // The memory is still in use by another stream: wait for it there.
    Prepared wait{Prepared::Kind::kWaitStream, s};
    wait.other = b.waits_for;
    if (at_once)
      issue(wait);
    else
      prepared_.push_back(std::move(wait));
    merge(on.clock, streams_[static_cast<std::size_t>(b.waits_for)].clock);
  }
}

int64_t CudaRank::rows_of(DynamicRows d, int64_t fixed, const CudaRouting& r) const {
  switch (d) {
    case DynamicRows::kNone:
      return fixed;
    case DynamicRows::kExpanded:
      return r.expanded;
    case DynamicRows::kGathered:
      return r.gathered();
    case DynamicRows::kArrived:
      return r.arrived;
  }
  return fixed;
}

void CudaRank::allocate(StreamKind s, Role role, uint32_t id) {
  const Tensor& info = plan_.stages[static_cast<std::size_t>(stage(role))].tensors[id];
  CudaTensor& t = tensor(role, id);
  if (t.data != nullptr)
    throw Error(ExitCode::kInternal, fmt::format("{} is allocated twice", info.name));
  const CudaRouting& r = routing(role, info.unit);
  t.rows = rows_of(info.dynamic_rows, info.rows, r);
  t.cols = rows_of(info.dynamic_cols, info.cols, r);
  const int64_t local = config_.model.experts / config_.plan.expert_parallel;
  const int64_t k = config_.model.experts_per_token;
  int64_t bytes = 0;
  if (info.packed == PackedIndex::kExpertLayout)
    bytes = 4 * kernels::expert_layout_ints(r.gathered(), k, local, r.expanded);
  else if (info.packed == PackedIndex::kDispatchLayout)
    bytes = 4 * kernels::dispatch_layout_ints(config_.plan.rows_per_rank(), k,
                                              config_.plan.expert_parallel, local);
  else
    bytes = device_bytes(info.dtype, t.rows, t.cols, info.groups);
  t.data = take(pool_of(info), bytes, s, false);
  t.bytes = bytes;
  t.readers_left = info.readers;
  t.last_use = {};
}

void CudaRank::release(StreamKind s, Role role, uint32_t id) {
  CudaTensor& t = tensor(role, id);
  const auto at = static_cast<std::size_t>(s);
  t.last_use[at] = stream(s).clock[at];
  if (t.readers_left > 1) {
    --t.readers_left;
    return;
  }
  const Tensor& info = plan_.stages[static_cast<std::size_t>(stage(role))].tensors[id];
  pool_of(info).free(t.data, t.last_use);
  t = CudaTensor{};
}

}  // namespace orrery
