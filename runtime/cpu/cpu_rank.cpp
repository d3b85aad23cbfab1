#include "runtime/cpu/cpu_rank.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/embedding/embedding_reference.h"
#include "runtime/cpu/collectives.h"
#include "runtime/cpu/fake_group.h"
#include "runtime/cpu/optimizer_ops.h"
#include "runtime/cpu/recipe_numerics.h"
#include "runtime/io/counter_random.h"
#include "runtime/model/param_init.h"

namespace orrery {

template <class T>
class CpuRank<T>::Impl {
 public:
  Impl(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics, int64_t rank,
       ThreadCommunicator& communicator, const CpuOptions& options)
      : plan_(plan),
        config_(config),
        numerics_(numerics),
        options_(options),
        communicator_(communicator),
        state_(plan, rank),
        program_(stream_program(plan, state_.layout.place().rank_class)) {
    for (std::size_t i = 0; i < rank_class().communicators.size(); ++i) {
      groups_.push_back(op_group(plan, rank, static_cast<int>(i)));
      const auto members = static_cast<int64_t>(groups_.back().ranks.size());
      const bool p2p = is_p2p(rank_class().communicators[i].kind);
      shared_.push_back(communicator.group(groups_.back().name, p2p ? 2 : members));
    }
    for (const StageGraph& g : plan.stages) stride_ = std::max(stride_, g.tensors.size());
    tensors_.resize((static_cast<std::size_t>(rank_class().slots()) + 1) * stride_);
    routing_.resize((static_cast<std::size_t>(rank_class().slots()) + 1) * stride_);
    rope();
    initialise();
  }

  StepResult run_step(const StepTokens& tokens, const OptimizerStep& optimizer) {
    tokens_ = tokens;
    optimizer_ = optimizer;
    if (options_.record && held_ == 0) held_ = state_bytes();
    events_.assign(program_.events, false);
    start_ = std::chrono::steady_clock::now();
    for (Stream& s : streams_) s = Stream{};
    uint64_t seen = 0;
    for (;;) {
      bool moved = false, left = false;
      for (int s = 0; s < kStreams; ++s) {
        while (advance(s)) moved = true;
        left = left || !streams_[s].done;
      }
      if (!left) break;
      if (!moved) seen = communicator_.wait_for_change(seen);
    }
    return state_.result;
  }

  CpuState<T>& state() { return state_; }
  std::vector<OpRecord> take_records() { return std::move(records_); }

  void refresh_kernel_weights() {
    for (std::size_t i = 0; i < rank_class().shares.size(); ++i) refresh_share(i);
  }

 private:
  struct Stream {
    uint32_t next_call = 0, call = 0, pos = 0, end = 0;
    bool done = false;
    bool in_collective = false;
    ThreadCommunicator::Ticket ticket;
    Collective<T> collective;
    Picos launched;
  };

  const RankClass& rank_class() const { return state_.layout.rank_class(); }

  void rope() {
    kernels::rope_table<T>(config_.plan.sequence_length, config_.model.rope_dim(), numerics_.rope,
                           rope_table_);
  }

  void initialise() {
    for (std::size_t i = 0; i < rank_class().shares.size(); ++i) {
      const OptimizerShare& s = rank_class().shares[i];
      const StageGraph& g = plan_.stages[static_cast<std::size_t>(s.stage)];
      for (std::size_t p = 0; p < s.params.size(); ++p) {
        const Param& param = g.params[s.params[p].v];
        std::vector<float> values(static_cast<std::size_t>(param.count()));
        const int64_t first = param.expert ? state_.layout.first_expert(param.groups) : 0;
        initial_weights(param, options_.seed, first, state_.layout.shard(param),
                        config_.model.initializer_range, values.data());
        std::copy(values.begin(), values.end(), state_.weights[i].begin() + s.offsets[p]);
      }
      state_.take_master(i);
    }
    refresh_kernel_weights();
  }

  void refresh_share(std::size_t i) {
    state_.kernel[i] = state_.weights[i];
    round_weights(i, state_.weights[i], state_.kernel[i]);
  }

  // Weights in a low precision are what their format keeps of the master weights.
  void round_weights(std::size_t i, const std::vector<T>& from, std::vector<T>& to) {
    const OptimizerShare& s = rank_class().shares[i];
    const StageGraph& g = plan_.stages[static_cast<std::size_t>(s.stage)];
    if (options_.numerics == CpuNumerics::kExact) return;
    for (std::size_t p = 0; p < s.params.size(); ++p) {
      const Param& param = g.params[s.params[p].v];
      if (param.dtype == Dtype::kBf16 || param.dtype == Dtype::kFp32) continue;
      const int64_t rows = param.rows / param.groups;
      for (int64_t e = 0; e < param.groups; ++e) {
        const int64_t at = s.offsets[p] + e * rows * param.cols;
        quantise_weight(param.dtype, rows, param.cols, from.data() + at, to.data() + at);
      }
    }
  }

  bool enter_call(int stream) {
    Stream& s = streams_[stream];
    const auto& calls = program_.calls[stream];
    if (s.next_call == calls.size()) {
      s.done = true;
      return false;
    }
    s.call = calls[s.next_call++];
    const auto r =
        program_.ranges[program_.call[s.call].block * kStreams + static_cast<uint32_t>(stream)];
    s.pos = r.begin;
    s.end = r.end;
    return true;
  }

  // Runs the stream's next instruction; false when it has to wait or has ended.
  bool advance(int stream) {
    Stream& s = streams_[stream];
    if (s.done) return false;
    if (s.in_collective) {
      if (!communicator_.is_done(s.ticket)) return false;
      finish_collective(stream);
    }
    if (s.pos == s.end && !enter_call(stream)) return false;
    const StreamInstr i = program_.instrs[s.pos];
    switch (i.kind) {
      case Instr::Kind::kLaunch:
        ++s.pos;
        launch(stream, i.arg);
        return true;
      case Instr::Kind::kRecord:
        events_[program_.event(s.call, i.role, i.arg)] = true;
        break;
      case Instr::Kind::kWait:
        if (!events_[program_.event(s.call, i.role, i.arg)]) return false;
        break;
      case Instr::Kind::kAlloc:
        allocate(s.call, i.role, i.arg);
        break;
      case Instr::Kind::kFree:
        release(s.call, i.role, i.arg);
        break;
    }
    ++s.pos;
    return true;
  }

  // The tensors of a micro-batch; the optimizer's come after those of all slots.
  std::size_t slot(uint32_t call, Role role) const {
    const Call& c = program_.call[call];
    const int slot = role == Role::kForward ? c.forward_slot : c.backward_slot;
    return static_cast<std::size_t>(slot < 0 ? rank_class().slots() : slot);
  }
  int stage(uint32_t call, Role role) const {
    const Block& b = rank_class().blocks[program_.call[call].block];
    return role == Role::kForward ? b.forward_stage : b.backward_stage;
  }
  HostTensor<T>& tensor(uint32_t call, Role role, uint32_t id) {
    return tensors_[slot(call, role) * stride_ + id];
  }

  void allocate(uint32_t call, Role role, uint32_t id) {
    HostTensor<T>& t = tensor(call, role, id);
    const Tensor& info = plan_.stages[static_cast<std::size_t>(stage(call, role))].tensors[id];
    if (t.live) throw Error(ExitCode::kInternal, fmt::format("{} is allocated twice", info.name));
    t.live = true;
    t.readers_left = info.readers;
  }

  void release(uint32_t call, Role role, uint32_t id) {
    HostTensor<T>& t = tensor(call, role, id);
    if (t.readers_left > 1) {
      --t.readers_left;
      return;
    }
    held_ -= t.counted_bytes;
    t = HostTensor<T>{};
  }

  OpCall<T> resolve(uint32_t call, uint32_t plan_op) {
    const PlanOp& p = plan_.ops[plan_op];
    const StageGraph& g = plan_.stages[p.stage];
    const Op& op = g.ops[p.graph_op];
    OpCall<T> c{op, g, config_, numerics_, options_.numerics, rope_table_, {}, {}};
    const auto live = [&](TensorId id) {
      HostTensor<T>* t = &tensor(call, p.role, id.v);
      if (!t->live)
        throw Error(ExitCode::kInternal, fmt::format("{} uses {}, which is not allocated",
                                                     plan_.op_name(plan_op), g.tensors[id.v].name));
      return t;
    };
    for (TensorId id : g.inputs(op)) c.in.push_back(live(id));
    for (TensorId id : g.outputs(op)) c.out.push_back(live(id));
    c.ranks = config_.plan.expert_parallel;
    c.at = state_.layout.position();
    if (config_.model.experts > 0) {
      c.local_experts = config_.model.experts / c.ranks;
      c.first_expert = state_.layout.first_expert(c.local_experts);
    }
    c.share = share_of(p, op);
    if (op.param.valid()) bind_param(c, p.stage);
    if (op.bias.valid()) bind_bias(c, p.stage);
    bind_tensors(c, p, live);
    c.random_key = stream_key(options_.seed, static_cast<uint64_t>(optimizer_.step));
    c.first_sequence = first_sequence(call, p.role);
    return c;
  }

  // Ops of a stage's graph name a group of its weights, those of the optimizer the share.
  int64_t share_of(const PlanOp& p, const Op& op) const {
    switch (op.segment) {
      case SegmentKind::kGatherF:
      case SegmentKind::kGatherB:
      case SegmentKind::kUnshardF:
      case SegmentKind::kUnshardB:
      case SegmentKind::kReduceB:
        return state_.layout.share_of(p.stage, op.shape.index);
      case SegmentKind::kOptimizer:
        return op.shape.index;
      default:
        return kNoShare;
    }
  }

  // Sharded weights are read from what was gathered; gradients of one micro-batch start at zero.
  template <class Live>
  void bind_tensors(OpCall<T>& c, const PlanOp& p, Live live) {
    const auto offset = [&](ParamId id) { return state_.layout.find(p.stage, id).offset; };
    if (c.op.weights.valid()) {
      T* weights = live(c.op.weights)->values.data();
      if (c.op.param.valid()) c.weight = weights + offset(c.op.param);
      if (c.bias != nullptr) c.bias = weights + offset(c.op.bias);
    }
    if (!c.op.grad.valid()) return;
    HostTensor<T>& grad = *live(c.op.grad);
    if (grad.values.empty()) grad.resize(1, c.graph.tensors[c.op.grad.v].cols);
    if (c.op.param.valid()) c.grad = grad.values.data() + offset(c.op.param);
    if (c.bias_grad != nullptr) c.bias_grad = grad.values.data() + offset(c.op.bias);
  }

  void bind_param(OpCall<T>& c, int stage) {
    c.param = &c.graph.params[c.op.param.v];
    const ParamPlace& at = state_.layout.find(stage, c.op.param);
    if (at.share < 0) {
      c.weight = state_.buffers.data() + at.offset;
      if (c.op.kind == OpKind::kRouter && !c.op.again) {
        const ParamId load = c.graph.find_param("router.load", c.param->layer);
        c.load = state_.buffers.data() + state_.layout.find(stage, load).offset;
      }
      return;
    }
    const auto share = static_cast<std::size_t>(at.share);
    c.weight = state_.kernel[share].data() + at.offset;
    if (!rank_class().shares[share].gradients_sharded)
      c.grad = state_.grads[share].data() + at.offset;
  }

  void bind_bias(OpCall<T>& c, int stage) {
    // Once in the sum over ranks that split the inputs.
    if (c.param != nullptr && c.param->shard.axis == ShardAxis::kCols && c.at.tensor > 0) return;
    const ParamPlace& at = state_.layout.find(stage, c.op.bias);
    const auto share = static_cast<std::size_t>(at.share);
    c.bias = state_.kernel[share].data() + at.offset;
    c.bias_grad = rank_class().shares[share].gradients_sharded
                      ? state_.grads[share].data()  // not null: bind_tensors() places it
                      : state_.grads[share].data() + at.offset;
  }

  void launch(int stream, uint32_t plan_op) {
    Stream& s = streams_[stream];
    s.launched = now();
    OpCall<T> c = resolve(s.call, plan_op);
    const PlanOp& p = plan_.ops[plan_op];
    if (p.communicator < 0) {
      run_compute(c);
      record(stream, plan_op);
      return;
    }
    s.collective = make_collective(c, state_, routing(s.call, plan_op));
    s.collective.plan_op = plan_op;
    s.in_collective = true;
    const auto k = static_cast<std::size_t>(p.communicator);
    const auto members = static_cast<int64_t>(groups_[k].ranks.size());
    if (options_.fake_group && members > 1) {
      fake_collective(c.op, members, groups_[k].position, s.collective);
      s.ticket.done = true;
      return;
    }
    // A transfer may be between two chunks of this rank, which then takes both positions.
    const int64_t position =
        is_p2p(c.op.comm) ? (c.op.kind == OpKind::kSend ? 0 : 1) : groups_[k].position;
    communicator_.arrive(shared_[k], position, &s.collective, &s.ticket, collective_work<T>(c.op));
  }

  // The layer's first all-to-all leaves what the others need.
  RoutingState& routing(uint32_t call, uint32_t plan_op) {
    const PlanOp& p = plan_.ops[plan_op];
    return routing_[slot(call, p.role) * stride_ +
                    static_cast<std::size_t>(plan_.graph_op(p).unit)];
  }

  void finish_collective(int stream) {
    Stream& s = streams_[stream];
    s.in_collective = false;
    OpCall<T> c = resolve(s.call, s.collective.plan_op);
    complete_collective(c, state_, s.collective, routing(s.call, s.collective.plan_op));
    if (c.op.kind == OpKind::kAllGather && c.share != kNoShare &&
        c.op.segment != SegmentKind::kOptimizer)
      gathered(c);
    record(stream, s.collective.plan_op);
  }

  // What arrived becomes what kernels read; with a cast of its own, that op does it.
  void gathered(OpCall<T>& c) {
    const auto i = static_cast<std::size_t>(c.share);
    if (!rank_class().shares[i].weights_sharded) return refresh_share(i);
    if (config_.plan.dp.gather_dtype == GatherDtype::kFp8)
      round_weights(i, c.out[0]->values, c.out[0]->values);
  }

  void unshard(OpCall<T>& c) {
    c.out[0]->values = c.in[0]->values;
    round_weights(static_cast<std::size_t>(c.share), c.in[0]->values, c.out[0]->values);
  }

  void run_compute(OpCall<T>& c) {
    if (c.op.kind == OpKind::kLoadTokens) return load_tokens(c);
    if (c.op.kind == OpKind::kUnshard) return unshard(c);
    if (c.op.kind == OpKind::kStoreActivations || c.op.kind == OpKind::kLoadActivations)
      return c.out[0]->copy_from(*c.in[0]);
    if (run_map_op(c) || run_matrix_op(c) || run_moe_op(c) || run_block_op(c)) return;
    if (!run_optimizer_op(c, state_, optimizer_))
      throw Error(ExitCode::kInternal,
                  fmt::format("the CPU backend has no {}", op_kind_name(c.op.kind)));
    if (c.op.kind == OpKind::kCastWeights) refresh_kernel_weights();
    if (c.op.kind != OpKind::kAdamW) return;
    const auto share = static_cast<std::size_t>(c.op.shape.index);
    if (rank_class().shares[share].cast_in_optimizer) refresh_share(share);
  }

  // Of the micro-batch of a call, in the data.
  uint64_t first_sequence(uint32_t call, Role role) const {
    const PlanSpec& p = config_.plan;
    const Call& at = program_.call[call];
    const int slot = role == Role::kForward ? at.forward_slot : at.backward_slot;
    if (slot < 0) return 0;  // the optimizer
    const int64_t micro_batch = rank_class().micro_batch_of_slot(slot);
    const int64_t first =
        (state_.layout.position().data * p.micro_batches() + micro_batch) * p.micro_batch;
    return tokens_.first_sequence + static_cast<uint64_t>(first);
  }

  void load_tokens(OpCall<T>& c) {
    const PlanSpec& p = config_.plan;
    const int64_t length = p.sequence_length / p.context_parallel;
    int32_t* out = c.out[0]->resize_ints(p.tokens_per_rank(), 1);
    std::vector<int32_t> sequence(static_cast<std::size_t>(tokens_per_sequence(config_)));
    const int64_t part = c.shape().first;  // of the vocabulary; 0: all
    for (int64_t i = 0; i < p.micro_batch; ++i) {
      tokens_.source->sample(c.first_sequence + static_cast<uint64_t>(i), sequence);
      for (int64_t t = 0; t < length; ++t) {
        const int64_t from = sequence_position(p, c.at.context, t) + c.shape().column;
        int64_t id = sequence[static_cast<std::size_t>(from)];
        if (part > 0) id = kernels::local_id(id, c.at.tensor * part, part);
        out[i * length + t] = static_cast<int32_t>(id);
      }
    }
  }

  Picos now() const {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::steady_clock::now() - start_);
    return Picos(ns.count() * 1000);
  }
  void record(int stream, uint32_t plan_op) {
    if (!options_.record) return;
    const Stream& s = streams_[stream];
    count_tensors(s.call, plan_op);
    records_.push_back({s.launched, now(), plan_op, s.call,
                        static_cast<uint16_t>(state_.layout.place().rank_class),
                        static_cast<StreamKind>(stream), Bytes(held_)});
  }

  // Tensors take memory when an op gives them their size.
  void count_tensors(uint32_t call, uint32_t plan_op) {
    const PlanOp& p = plan_.ops[plan_op];
    const StageGraph& g = plan_.stages[p.stage];
    const auto count = [&](TensorId id) {
      if (g.tensors[id.v].kind == BufferKind::kHost) return;
      HostTensor<T>& t = tensor(call, p.role, id.v);
      held_ += t.bytes() - std::exchange(t.counted_bytes, t.bytes());
    };
    g.for_each_read(g.ops[p.graph_op], count);
    g.for_each_written(g.ops[p.graph_op], count);
  }

  int64_t state_bytes() const {
    std::size_t values = state_.buffers.size();
    for (const auto* arrays : {&state_.weights, &state_.kernel, &state_.grads, &state_.master,
                               &state_.m, &state_.v, &state_.reduced})
      for (const std::vector<T>& a : *arrays) values += a.size();
    return static_cast<int64_t>(values * sizeof(T));
  }

  const ExecPlan& plan_;
  const GraphConfig config_;
  const Numerics numerics_;
  const CpuOptions options_;
  ThreadCommunicator& communicator_;
  CpuState<T> state_;
  const StreamProgram program_;
  std::vector<OpGroup> groups_;
  std::vector<ThreadCommunicator::Group*> shared_;
  std::size_t stride_ = 0;  // tensors of a slot
  std::vector<HostTensor<T>> tensors_;
  std::vector<RoutingState> routing_;  // [slot, unit]
  std::vector<T> rope_table_;
  Stream streams_[kStreams];
  std::vector<bool> events_;
  StepTokens tokens_;
  OptimizerStep optimizer_;
  std::chrono::steady_clock::time_point start_;
  std::vector<OpRecord> records_;
  int64_t held_ = 0;  // bytes of states and, when recording, of tensors
};

template <class T>
CpuRank<T>::CpuRank(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
                    int64_t rank, ThreadCommunicator& communicator, const CpuOptions& options)
    : impl_(std::make_unique<Impl>(plan, config, numerics, rank, communicator, options)) {}
template <class T>
CpuRank<T>::~CpuRank() = default;
template <class T>
StepResult CpuRank<T>::run_step(const StepTokens& tokens, const OptimizerStep& optimizer) {
  return impl_->run_step(tokens, optimizer);
}
template <class T>
std::vector<T>& CpuRank<T>::weights(int share) {
  return impl_->state().weights[static_cast<std::size_t>(share)];
}
template <class T>
const std::vector<T>& CpuRank<T>::reduced_gradients(int share) const {
  return impl_->state().reduced[static_cast<std::size_t>(share)];
}
template <class T>
std::vector<T>& CpuRank<T>::buffers() {
  return impl_->state().buffers;
}
template <class T>
const RankLayout& CpuRank<T>::layout() const {
  return impl_->state().layout;
}
template <class T>
void CpuRank<T>::refresh_kernel_weights() {
  for (std::size_t i = 0; i < impl_->state().weights.size(); ++i) impl_->state().take_master(i);
  impl_->refresh_kernel_weights();
}
template <class T>
void CpuRank<T>::cast_kernel_weights() {
  impl_->refresh_kernel_weights();
}
template <class T>
CpuState<T>& CpuRank<T>::state() {
  return impl_->state();
}
template <class T>
std::vector<OpRecord> CpuRank<T>::take_records() {
  return impl_->take_records();
}

template class CpuRank<float>;
template class CpuRank<double>;

}  // namespace orrery
