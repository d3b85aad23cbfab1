#include "runtime/cuda/collectives.h"

#include <algorithm>

#include "kernels/moe/dispatch.h"
#include "runtime/cuda/activation_collectives.h"
#include "runtime/model/on_activations.h"

namespace orrery {
namespace {

// What a member of the expert-parallel group has for a rank: rows [begin, end) of its own, and how
// many of them each of the rank's experts gets.
struct ArrivingCounts {
  std::vector<int32_t> begin, end;   // [ranks]
  std::vector<int32_t> expert_rows;  // [ranks, local experts]
  int64_t rows() const {
    int64_t sum = 0;
    for (std::size_t s = 0; s < begin.size(); ++s) sum += end[s] - begin[s];
    return sum;
  }
};

// On the host.
struct Counts {
  std::vector<int32_t> send_rows;        // [ranks + 1] this rank's own, as its dispatch layout says
  std::vector<ArrivingCounts> arriving;  // at each rank with a part of the same experts
};

std::vector<int64_t> one_each(int64_t n) {
  std::vector<int64_t> begin;
  for (int64_t r = 0; r <= n; ++r) begin.push_back(r);
  return begin;
}

// Each member tells every other where its rows begin and end and how many its experts get; ranks
// with parts of the same experts tell each other what arrives. Waits for the stream.
Counts exchange_counts(CudaOpCall& c, Collectives& group) {
  const int64_t n = c.ranks, local = c.local_experts, ints = n * (2 + local);
  const int64_t members = c.expert_tensor != nullptr ? c.expert_tensor->size() : 1;
  const kernels::DispatchLayout layout = c.dispatch_layout(*c.in.back());
  auto* arrived = reinterpret_cast<int32_t*>(c.scratch.get(4 * ints));
  group.exchange({{layout.send_rows, arrived, 4},
                  {layout.send_rows + 1, arrived + n, 4},
                  {layout.send_expert_rows, arrived + 2 * n, 4 * local}},
                 one_each(n), one_each(n), c.stream);
  if (c.expert_tensor != nullptr) {
    auto* all = reinterpret_cast<int32_t*>(c.scratch.get(4 * members * ints));
    c.expert_tensor->all_gather({{arrived, all, 4 * ints}}, one_each(members), c.stream);
    arrived = all;
  }
  Counts host;
  const auto copy = [&](std::vector<int32_t>& to, const int32_t* from, int64_t count) {
    to.resize(static_cast<std::size_t>(count));
    cuda_check(cudaMemcpyAsync(to.data(), from, to.size() * 4, cudaMemcpyDeviceToHost, c.stream),
               "copying counts");
  };
  copy(host.send_rows, layout.send_rows, n + 1);
  host.arriving.resize(static_cast<std::size_t>(members));
  for (ArrivingCounts& at : host.arriving) {
    copy(at.begin, arrived, n);
    copy(at.end, arrived + n, n);
    copy(at.expert_rows, arrived + 2 * n, n * local);
    arrived += ints;
  }
  cuda_check(cudaStreamSynchronize(c.stream), "waiting for the counts of an all-to-all");
  return host;
}

// This rank's rows out and in, and those of its experts.
void take_counts(CudaOpCall& c, Collectives& group) {
  const Counts counts = exchange_counts(c, group);
  const int64_t member = c.expert_tensor != nullptr ? c.expert_tensor->position() : 0;
  const ArrivingCounts& own = counts.arriving[static_cast<std::size_t>(member)];
  CudaRouting& r = *c.routing;
  r.send_rows.assign(counts.send_rows.begin(), counts.send_rows.end());
  r.recv_rows.assign(1, 0);
  for (std::size_t s = 0; s < own.begin.size(); ++s)
    r.recv_rows.push_back(r.recv_rows.back() + own.end[s] - own.begin[s]);
  r.arrived = r.recv_rows.back();
  r.member_rows.assign(1, 0);
  for (const ArrivingCounts& at : counts.arriving)
    r.member_rows.push_back(r.member_rows.back() + at.rows());
  r.expanded = 0;
  const auto local = static_cast<std::size_t>(c.local_experts);
  for (std::size_t e = 0; e < local; ++e) {
    int64_t rows = 0;
    for (const ArrivingCounts& at : counts.arriving)
      for (std::size_t i = e; i < at.expert_rows.size(); i += local) rows += at.expert_rows[i];
    r.expanded += (rows + kExpertRowAlignment - 1) / kExpertRowAlignment * kExpertRowAlignment;
  }
}

void notify(CudaOpCall& c, Collectives& group) {
  const bool first = c.op.segment == SegmentKind::kDispatchF;
  if (first) return take_counts(c, group);
  auto* token = reinterpret_cast<float*>(c.scratch.get(4));
  cuda_check(cudaMemsetAsync(token, 0, 4, c.stream), "clearing a barrier");
  group.all_reduce(token, 1, c.stream);
}

void dispatch(CudaOpCall& c, Collectives& group) {
  const CudaTensor& x = *c.in[0];
  const kernels::DispatchLayout layout = c.dispatch_layout(*c.in.back());
  const CudaRouting& r = *c.routing;
  const int64_t capacity = c.tokens() * std::min(c.top_k(), c.ranks);
  const int32_t* rows = layout.send_rows + c.ranks;
  std::vector<Collectives::Rows> arrays;
  kernels::PackRowsParams p;
  p.capacity = capacity;
  p.cols = x.cols;
  p.rows = rows;
  p.send_token = layout.send_token;
  if (c.fp8()) {
    const int64_t tiles = kernels::tiles(x.cols);
    p.x8 = fp8_rows(x);
    p.out8 = {reinterpret_cast<kernels::fp8*>(c.scratch.get(capacity * x.cols)),
              reinterpret_cast<float*>(c.scratch.get(4 * capacity * tiles)),
              capacity,
              x.cols,
              tiles,
              1};
    const kernels::Fp8View to = fp8_rows(*c.out[0]);
    arrays.push_back({p.out8.data, to.data, x.cols});
    arrays.push_back({p.out8.scales, to.scales, 4 * tiles});
  } else {
    p.x = x.bf16();
    p.out = reinterpret_cast<kernels::bf16*>(c.scratch.get(2 * capacity * x.cols));
    arrays.push_back({p.out, c.out[0]->data, 2 * x.cols});
  }
  launch_check(kernels::pack_rows(p, c.stream));
  if (is_forward(c.op)) {
    const int64_t words = kernels::kArrivedRoutingWords * c.top_k();
    auto* packed = reinterpret_cast<int32_t*>(c.scratch.get(4 * capacity * words));
    launch_check(kernels::pack_routing({.capacity = capacity,
                                        .k = c.top_k(),
                                        .ranks = c.ranks,
                                        .local_experts = c.local_experts,
                                        .routing = c.in[1]->i32(),
                                        .send_rows = layout.send_rows,
                                        .send_token = layout.send_token,
                                        .out = packed},
                                       c.stream));
    arrays.push_back({packed, c.out[1]->data, 4 * words});
  }
  group.exchange(arrays, r.send_rows, r.recv_rows, c.stream);
}

void combine(CudaOpCall& c, Collectives& group) {
  const bool backward = !is_forward(c.op);
  const kernels::DispatchLayout layout = c.dispatch_layout(*c.in.back());
  const CudaRouting& r = *c.routing;
  const int64_t cols = c.in[0]->cols, sent = r.send_rows.back();
  auto* received = reinterpret_cast<kernels::bf16*>(c.scratch.get(2 * sent * cols));
  std::vector<Collectives::Rows> arrays = {{c.in[0]->data, received, 2 * cols}};
  float* weights = nullptr;
  if (backward) {
    weights = reinterpret_cast<float*>(c.scratch.get(4 * sent * c.top_k()));
    arrays.push_back({c.in[1]->data, weights, 4 * c.top_k()});
  }
  group.exchange(arrays, r.recv_rows, r.send_rows, c.stream);
  const bool addend = !backward && c.in.size() == 3;  // the shared expert's output
  launch_check(kernels::combine_rows({.tokens = c.tokens(),
                                      .cols = cols,
                                      .k = c.top_k(),
                                      .slot_of = layout.slot_of,
                                      .received = received,
                                      .addend = addend ? c.in[1]->bf16() : nullptr,
                                      .out = c.out[0]->bf16()},
                                     c.stream));
  if (!backward) return;
  launch_check(kernels::combine_weights({.tokens = c.tokens(),
                                         .k = c.top_k(),
                                         .ranks = c.ranks,
                                         .local_experts = c.local_experts,
                                         .routing = c.in[2]->i32(),
                                         .send_rows = layout.send_rows,
                                         .slot_of = layout.slot_of,
                                         .received = weights,
                                         .out = c.out[1]->f32()},
                                        c.stream));
}

// The array that an all-reduce outside the shares works on.
float* reduced_array(CudaOpCall& c) {
  const RankLayout& layout = c.weights.layout();
  if (c.op.comm == CommKind::kWorld) {
    cuda_check(
        cudaMemcpyAsync(c.out[0]->data, c.in[0]->data, static_cast<std::size_t>(4 * c.in[0]->cols),
                        cudaMemcpyDeviceToDevice, c.stream),
        "copying statistics");
    return c.out[0]->f32();
  }
  const int chunk = c.op.unit;
  if (c.op.comm != CommKind::kEmbedding)
    return c.weights.buffers() + layout.router_loads(chunk).offset;
  const int stage = layout.rank_class().stage_of_chunk[static_cast<std::size_t>(chunk)];
  return c.weights.gradient(stage, layout.stage_graph(stage)->find_param(kEmbeddingParam, -1));
}

CudaWeights::Share& share_of(CudaOpCall& c) {
  return c.weights.shares()[static_cast<std::size_t>(c.shape().index)];
}

void reduce(CudaOpCall& c, Collectives* group) {
  const bool of_share = c.shape().index != kNoShare;
  float* data = of_share ? share_of(c).grads.as<float>() : reduced_array(c);
  if (group == nullptr) return;
  if (c.op.kind == OpKind::kReduceScatter)
    group->reduce_scatter(data, shards_of(*share_of(c).spec), c.stream);
  else
    group->all_reduce(data, c.shape().m, c.stream);
}

void gather(CudaOpCall& c, Collectives& group) {
  CudaWeights::Share& s = share_of(c);
  kernels::bf16* data = c.fp8() ? c.in[0]->bf16() : s.weights.as<kernels::bf16>();
  group.all_gather(data, shards_of(*s.spec), c.stream);
}

}  // namespace

std::vector<ShardRange> shards_of(const OptimizerShare& share) {
  std::vector<ShardRange> parts;
  for (int64_t i = 0; i < share.shards; ++i) parts.push_back(share.shard(i));
  return parts;
}

void launch_collective(CudaOpCall& c, Collectives* group) {
  const OpKind kind = c.op.kind;
  if (group != nullptr && on_activations(c.op)) return launch_activation_collective(c, *group);
  if (kind == OpKind::kReduceScatter || kind == OpKind::kAllReduce) return reduce(c, group);
  if (group == nullptr)
    throw Error(ExitCode::kInternal, fmt::format("{} has no group of ranks", op_kind_name(kind)));
  const int64_t peer = 1 - group->position();  // of a transfer
  switch (kind) {
    case OpKind::kNotify:
      return notify(c, *group);
    case OpKind::kDispatch:
      return dispatch(c, *group);
    case OpKind::kCombine:
      return combine(c, *group);
    case OpKind::kAllGather:
      return gather(c, *group);
    case OpKind::kSend: {
      const int64_t bytes = 2 * c.shape().m * c.in[0]->cols;
      // Of rows that the whole tensor-parallel group has, each rank sends its part.
      const int64_t first = c.shape().m < c.in[0]->rows ? c.at.tensor * bytes : 0;
      return group->send(c.in[0]->data + first, bytes, peer, c.stream);
    }
    case OpKind::kRecv:
      return group->receive(c.out[0]->data, 2 * c.out[0]->rows * c.out[0]->cols, peer, c.stream);
    default:
      throw Error(ExitCode::kInternal, fmt::format("{} is no collective", op_kind_name(kind)));
  }
}

}  // namespace orrery
