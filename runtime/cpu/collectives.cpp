#include "runtime/cpu/collectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "kernels/moe/dispatch_reference.h"
#include "runtime/cpu/activation_collectives.h"
#include "runtime/cpu/moe_views.h"

namespace orrery {
namespace {

// Of an array that a collective divides, the part of each member.
template <class T>
ShardRange part_of(const std::vector<Collective<T>*>& all, std::size_t member) {
  return shard_range(all[0]->elements, all[0]->matrices, static_cast<int64_t>(all.size()),
                     static_cast<int64_t>(member));
}

// In the order of the members, in double.
template <class T>
T sum_of(const std::vector<Collective<T>*>& all, int64_t i) {
  double sum = 0;
  for (const Collective<T>* m : all) sum += static_cast<double>(m->data[i]);
  return static_cast<T>(sum);
}

template <class T>
void all_reduce(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  for (int64_t i = 0; i < all[0]->elements; ++i) {
    const T sum = sum_of(all, i);
    for (Collective<T>* m : all) m->data[i] = sum;
  }
}

template <class T>
void reduce_scatter(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  for (std::size_t to = 0; to < all.size(); ++to) {
    const ShardRange part = part_of(all, to);
    for (int64_t i = part.begin; i < part.begin + part.elements; ++i)
      all[to]->data[i] = sum_of(all, i);
  }
}

template <class T>
void gather(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  for (std::size_t from = 0; from < all.size(); ++from) {
    const ShardRange part = part_of(all, from);
    for (Collective<T>* to : all)
      if (to != all[from])
        std::copy_n(all[from]->data + part.begin, part.elements, to->data + part.begin);
  }
}

template <class T>
void transfer(std::span<void* const> arguments) {
  Collective<T>* send = nullptr;
  Collective<T>* receive = nullptr;
  for (Collective<T>* m : members<T>(arguments)) (m->send != nullptr ? send : receive) = m;
  const auto from = send->send->begin() + static_cast<std::ptrdiff_t>(send->first);
  std::copy_n(from, receive->receive->values.size(), receive->receive->values.begin());
}

// Rows for rank d of every member, one member after the other.
template <class T>
void exchange(std::span<void* const> arguments) {
  const auto all = members<T>(arguments);
  for (std::size_t d = 0; d < all.size(); ++d) {
    RowExchange<T>& to = all[d]->rows;
    to.received.assign(1, 0);
    for (Collective<T>* from : all) {
      RowExchange<T>& x = from->rows;
      const int64_t begin = (*x.to)[d], end = (*x.to)[d + 1];
      const auto append = [&](const auto& source, auto& target, int64_t cols) {
        target.insert(target.end(), source.begin() + begin * cols, source.begin() + end * cols);
      };
      append(x.send, to.receive, x.cols);
      append(x.send_ints, to.receive_ints, x.int_cols);
      append(x.send_extra, to.receive_extra, x.extra_cols);
      to.received.push_back(to.received.back() + end - begin);
    }
  }
}

template <class T>
void pack_dispatch(OpCall<T>& c, RowExchange<T>& x, RoutingState& routing) {
  const HostTensor<T>& rows = *c.in[0];
  const bool forward = is_forward(c.op);
  const kernels::DispatchLayout layout = dispatch_layout(c, *c.in.back());
  const int64_t k = c.config.model.experts_per_token;
  if (forward) routing.send_rows.assign(layout.send_rows, layout.send_rows + c.ranks + 1);
  const int64_t n = routing.send_rows.back();
  x.to = &routing.send_rows;
  x.cols = rows.cols;
  x.send.resize(static_cast<std::size_t>(n * x.cols));
  kernels::pack_rows_reference<T>(n, x.cols, layout.send_token, rows.values.data(), x.send.data());
  if (!forward) return;
  x.int_cols = kernels::kArrivedRoutingWords * k;
  x.extra_cols = k;
  x.send_ints.resize(static_cast<std::size_t>(n * x.int_cols));
  x.send_extra.resize(static_cast<std::size_t>(n * k));
  kernels::pack_routing_reference(k, c.ranks, c.local_experts, c.in[1]->ints.data(), layout,
                                  x.send_ints.data());
  kernels::pack_rows_reference<T>(n, k, layout.send_token, c.in[1]->values.data(),
                                  x.send_extra.data());
}

template <class T>
void pack_combine(OpCall<T>& c, RowExchange<T>& x, RoutingState& routing) {
  x.to = &routing.recv_rows;
  x.cols = c.in[0]->cols;
  x.send = c.in[0]->values;
  if (is_forward(c.op)) return;
  x.extra_cols = c.in[1]->cols;
  x.send_extra = c.in[1]->values;
}

template <class T>
void unpack_dispatch(OpCall<T>& c, RowExchange<T>& x, RoutingState& routing) {
  HostTensor<T>& out = *c.out[0];
  out.rows = x.received.back();
  out.cols = x.cols;
  out.values = std::move(x.receive);
  if (!is_forward(c.op)) return;
  routing.recv_rows = x.received;
  c.out[1]->rows = out.rows;
  c.out[1]->cols = x.int_cols;
  c.out[1]->ints = std::move(x.receive_ints);
  c.out[1]->values = std::move(x.receive_extra);
}

template <class T>
void unpack_combine(OpCall<T>& c, RowExchange<T>& x) {
  const bool backward = !is_forward(c.op);
  const kernels::DispatchLayout layout = dispatch_layout(c, *c.in.back());
  const int64_t k = c.config.model.experts_per_token;
  const bool addend = !backward && c.in.size() == 3;  // the shared expert's output
  kernels::combine_rows_reference<T>(c.tokens(), x.cols, k, layout.slot_of, x.receive.data(),
                                     addend ? c.input(1) : nullptr,
                                     c.out[0]->resize(c.tokens(), x.cols));
  if (!backward) return;
  kernels::combine_weights_reference<T>(c.tokens(), k, c.local_experts, c.in[2]->ints.data(),
                                        layout, x.receive_extra.data(),
                                        c.out[1]->resize(c.tokens(), k));
}

bool on_copies(CommKind comm) {
  return comm == CommKind::kReplica || comm == CommKind::kExpertReplica ||
         comm == CommKind::kEmbedding;
}

// The flat array of a share that a collective works on in place. Gathers of sharded weights have a
// tensor for it, gradients of one micro-batch too.
template <class T>
void bind_share(OpCall<T>& c, CpuState<T>& state, Collective<T>& x) {
  const auto i = static_cast<std::size_t>(c.share);
  const OptimizerShare& s = state.layout.rank_class().shares[i];
  x.matrices = s.matrices;
  if (c.op.kind == OpKind::kAllGather) {
    x.data = state.weights[i].data();
    if (!s.weights_sharded) return;
    x.data = c.out[0]->resize(1, s.elements);
    std::copy(state.master[i].begin(), state.master[i].end(),
              x.data + state.layout.shard_begin(static_cast<int>(c.share)));
    return;
  }
  if (s.gradients_sharded && c.op.segment != SegmentKind::kOptimizer) {
    x.data = c.in.empty() ? state.reduced[i].data() : c.in[0]->values.data();
    return;
  }
  x.data = on_copies(c.op.comm) ? state.owned_gradients(i) : state.grads[i].data();
  if (c.op.comm != CommKind::kTensor || !c.config.plan.dp.reduces_in_backward()) return;
  // What the owned shard has of the leading elements, at its start.
  const int64_t begin = state.layout.shard_begin(static_cast<int>(c.share));
  x.data = state.owned_gradients(i);
  x.elements = std::clamp<int64_t>(s.tensor_summed - begin, 0, s.owned());
}

// Adds the reduced gradients of a micro-batch to those of the step: with HSDP after the second
// reduction, over the copies of the shard.
template <class T>
void accumulate(OpCall<T>& c, CpuState<T>& state) {
  const auto i = static_cast<std::size_t>(c.share);
  const OptimizerShare& s = state.layout.rank_class().shares[i];
  std::vector<T>& shard = state.reduced[i];
  if (!c.in.empty()) {
    const auto from = c.in[0]->values.begin() + state.layout.shard_begin(static_cast<int>(c.share));
    shard.assign(from, from + s.owned());
    if (s.shards > 1 && s.shards < s.owners) return;
  }
  for (std::size_t e = 0; e < shard.size(); ++e) state.grads[i][e] += shard[e];
}

// Gradients that travel in BF16 are rounded before they are summed.
template <class T>
void round_gradients(const OpCall<T>& c, Collective<T>& x) {
  if (c.share == kNoShare || c.op.kind == OpKind::kAllGather || c.mode != CpuNumerics::kFakeQuant ||
      c.config.plan.dp.gradient_dtype != ReduceDtype::kBf16)
    return;
  for (int64_t i = 0; i < x.elements; ++i) {
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(x.data[i]));
    const uint32_t even = ((bits >> 16) & 1) + 0x7fff;
    x.data[i] = static_cast<T>(std::bit_cast<float>((bits + even) & 0xffff0000U));
  }
}

// The flat array that an optimizer collective works on in place.
template <class T>
void bind_array(OpCall<T>& c, CpuState<T>& state, Collective<T>& x) {
  x.elements = c.shape().m;
  if (c.share != kNoShare) return bind_share(c, state, x);
  if (c.op.comm == CommKind::kWorld) {  // statistics of the step
    c.out[0]->resize(1, c.shape().m);
    c.out[0]->values = c.in[0]->values;
    x.data = c.out[0]->values.data();
    return;
  }
  const int chunk = c.op.unit;
  const int stage = state.layout.rank_class().stage_of_chunk[static_cast<std::size_t>(chunk)];
  if (c.op.comm == CommKind::kEmbedding) {
    const ParamId id = state.layout.stage_graph(stage)->find_param(kEmbeddingParam, -1);
    const ParamPlace& at = state.layout.find(stage, id);
    x.data = state.grads[static_cast<std::size_t>(at.share)].data() + at.offset;
  } else {
    x.data = state.buffers.data() + state.layout.router_loads(chunk).offset;
  }
}

}  // namespace

template <class T>
Collective<T> make_collective(OpCall<T>& c, CpuState<T>& state, RoutingState& routing) {
  Collective<T> x;
  if (on_activations(c.op)) {
    x.in = c.in;
    x.out = c.out;
    x.shape = c.shape();
    // Without an all-to-all the tokens are the rank's own.
    const bool arrived = c.op.comm == CommKind::kExpertTensor && !routing.recv_rows.empty();
    x.own_rows =
        arrived ? routing.recv_rows.back() : c.graph.tensors[c.graph.outputs(c.op)[0].v].rows;
    return x;
  }
  switch (c.op.kind) {
    case OpKind::kNotify:
      break;
    case OpKind::kDispatch:
      pack_dispatch(c, x.rows, routing);
      break;
    case OpKind::kCombine:
      pack_combine(c, x.rows, routing);
      break;
    case OpKind::kSend:
      x.send = &c.in[0]->values;
      // Of rows that the whole tensor-parallel group has, each rank sends its part.
      if (c.shape().m < c.in[0]->rows) x.first = c.at.tensor * c.shape().m * c.in[0]->cols;
      break;
    case OpKind::kRecv: {
      const Tensor& t = c.graph.tensors[c.graph.outputs(c.op)[0].v];
      c.out[0]->resize(t.rows, t.cols);
      x.receive = c.out[0];
      break;
    }
    default:
      bind_array(c, state, x);
      round_gradients(c, x);
  }
  return x;
}

template <class T>
ThreadCommunicator::Work collective_work(const Op& op) {
  if (on_activations(op)) return activation_work<T>(op.kind);
  switch (op.kind) {
    case OpKind::kNotify:
      return [](std::span<void* const>) {};
    case OpKind::kDispatch:
    case OpKind::kCombine:
      return exchange<T>;
    case OpKind::kSend:
    case OpKind::kRecv:
      return transfer<T>;
    case OpKind::kReduceScatter:
      return reduce_scatter<T>;
    case OpKind::kAllReduce:
      return all_reduce<T>;
    case OpKind::kAllGather:
      return gather<T>;
    default:
      throw Error(ExitCode::kInternal, fmt::format("{} is no collective", op_kind_name(op.kind)));
  }
}

template <class T>
void complete_collective(OpCall<T>& c, CpuState<T>& state, Collective<T>& done,
                         RoutingState& routing) {
  if (c.op.segment == SegmentKind::kReduceB &&
      state.layout.rank_class().shares[static_cast<std::size_t>(c.share)].gradients_sharded)
    accumulate(c, state);
  if (c.op.kind == OpKind::kDispatch) unpack_dispatch(c, done.rows, routing);
  if (c.op.kind == OpKind::kCombine) unpack_combine(c, done.rows);
}

template struct RowExchange<float>;
template struct RowExchange<double>;
template Collective<float> make_collective(OpCall<float>&, CpuState<float>&, RoutingState&);
template Collective<double> make_collective(OpCall<double>&, CpuState<double>&, RoutingState&);
template ThreadCommunicator::Work collective_work<float>(const Op&);
template ThreadCommunicator::Work collective_work<double>(const Op&);
template void complete_collective(OpCall<float>&, CpuState<float>&, Collective<float>&,
                                  RoutingState&);
template void complete_collective(OpCall<double>&, CpuState<double>&, Collective<double>&,
                                  RoutingState&);

}  // namespace orrery
