#include "runtime/cuda/cuda_rank.h"

#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "kernels/quant/cast.h"
#include "runtime/cuda/event_overhead.h"

namespace orrery {
namespace {

// cuBLAS's own recommendation for Hopper.
constexpr std::size_t kGemmWorkspace = std::size_t{32} << 20;

bool computes(int stream) {
  return stream == static_cast<int>(StreamKind::kCompute) ||
         stream == static_cast<int>(StreamKind::kComputeAux);
}

void merge(StreamClock& into, const StreamClock& from) {
  for (std::size_t s = 0; s < into.size(); ++s) into[s] = std::max(into[s], from[s]);
}

// Bytes of a tensor with its real shape; `groups` matrices each with whole 128x128 blocks.
int64_t device_bytes(Dtype dtype, int64_t rows, int64_t cols, int64_t groups) {
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

}  // namespace

// Memory of one op; given back, in stream order, when the op is on its stream.
class CudaRank::StreamScratch : public Scratch {
 public:
  StreamScratch(CudaRank& rank, StreamKind stream) : rank_(rank), stream_(stream) {}
  char* get(int64_t bytes) override {
    taken_.push_back(rank_.take(bytes, stream_, true));
    return taken_.back();
  }
  ~StreamScratch() override {
    for (char* data : taken_) rank_.pool_.free(data, rank_.point(stream_));
  }

 private:
  CudaRank& rank_;
  StreamKind stream_;
  std::vector<char*> taken_;
};

// Memory that was set aside when the op was prepared.
class CudaRank::FixedScratch : public Scratch {
 public:
  explicit FixedScratch(char* data) : data_(data) {}
  char* get(int64_t bytes) override {
    if (bytes > 0 && data_ == nullptr)
      throw Error(ExitCode::kInternal, "an op in a CUDA graph takes memory that was not planned");
    return std::exchange(data_, nullptr);
  }

 private:
  char* data_;
};

CudaRank::CudaRank(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
                   int64_t rank, const ExecutorOptions& options,
                   std::vector<Collectives*> communicators, CudaFlight* flight)
    : plan_(plan),
      config_(config),
      numerics_(numerics),
      options_(options),
      weights_(plan, config.plan, rank, options.keep_gradients),
      communicators_(std::move(communicators)),
      flight_(flight),
      host_tokens_(static_cast<std::size_t>(config.plan.micro_batches() * config.plan.micro_batch *
                                            tokens_per_sequence(config))) {
  for (int s = 0; s < kStreams; ++s) {
    streams_.emplace_back(!computes(s));
    Stream& stream = streams_.back();
    const std::size_t workspace = computes(s) ? kGemmWorkspace : 0;
    stream.gemm_workspace = std::make_unique<DeviceArray>(workspace);
    stream.gemm = std::make_unique<kernels::GemmContext>(
        workspace > 0 ? stream.gemm_workspace->as<void>() : nullptr, workspace);
  }
  const RankClass& c = weights_.layout().rank_class();
  for (const StageGraph& g : plan.stages) stride_ = std::max(stride_, g.tensors.size());
  const auto slots = static_cast<std::size_t>(c.slots());
  tensors_.resize((slots + 1) * stride_);
  routing_.resize((slots + 1) * stride_);
  for (std::size_t e = 0; e < slots * kSlotEvents; ++e) slot_events_.emplace_back();
  uint32_t events = 0;
  for (const Block& b : c.blocks) events = std::max(events, b.events);
  for (uint32_t e = 0; e < events; ++e) block_events_.emplace_back();
  // Making a graph may wait for kernels that run, as taking memory may (MemoryPool::reserve).
  const bool pipeline = config.plan.pipeline_parallel > 1;
  for (const Block& b : c.blocks)
    graphs_.emplace_back(!pipeline &&
                         std::none_of(b.instrs.begin(), b.instrs.end(), [&](const Instr& i) {
                           if (i.kind != Instr::Kind::kLaunch) return false;
                           const PlanOp& p = plan.ops[i.arg];
                           const Op& op = plan.graph_op(p);
                           return p.communicator >= 0 || op.phase == Phase::kOptimizer ||
                                  op_resource(op.kind) == Resource::kHostLink;
                         }));
  names_.resize(plan.ops.size());
  weights_.initialise(options.seed, config.model.initializer_range);
  pool_.reserve(std::min(planned_bytes(MemoryPool::Of::kDevice), free_bytes()));
  if (config.plan.offload_activations) host_pool_.reserve(planned_bytes(MemoryPool::Of::kPinned));
  initialise();
}

void CudaRank::initialise() {
  std::vector<float> table;
  kernels::rope_table<float>(config_.plan.sequence_length, config_.model.rope_dim(), numerics_.rope,
                             table);
  rope_table_ = DeviceArray(table.size() * sizeof(float));
  copy_to_device(rope_table_.as<float>(), table.data(), rope_table_.bytes(),
                 "copying the RoPE table");
  tokens_ = DeviceArray(host_tokens_.size() * sizeof(int32_t));
  batch_tokens_ = DeviceArray(
      static_cast<std::size_t>(4 * config_.plan.micro_batch * tokens_per_sequence(config_)));
  rehearse();
}

// cuBLASLt loads its kernels when a shape first needs them, which waits for kernels that run: so
// every shape runs once before the first step, on memory of no meaning.
void CudaRank::rehearse() {
  const RankClass& c = weights_.layout().rank_class();
  DeviceArray memory;
  std::set<std::tuple<OpKind, GemmLayout, int64_t, int64_t, int64_t, StreamKind>> done;
  for (const Block& b : c.blocks)
    for (const Instr& i : b.instrs) {
      if (i.kind != Instr::Kind::kLaunch) continue;
      const Op& op = plan_.graph_op(plan_.ops[i.arg]);
      const bool gemm = op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8 ||
                        op.kind == OpKind::kGemmFp8Wgrad || op.kind == OpKind::kNewtonSchulz;
      if (!gemm || op.row_proportional) continue;
      const OpShape& s = op.shape;
      if (done.emplace(op.kind, op.layout, s.m, s.n, s.k, i.stream).second)
        rehearse_op(plan_.ops[i.arg], i.arg, i.stream, memory);
    }
  for (const Stream& s : streams_) s.cuda.synchronise();
}

void CudaRank::rehearse_op(const PlanOp& p, uint32_t plan_op, StreamKind s, DeviceArray& memory) {
  const StageGraph& g = plan_.stages[p.stage];
  const Op& op = g.ops[p.graph_op];
  Prepared x{Prepared::Kind::kOp, s, p.role};
  x.plan_op = plan_op;
  CudaRouting none;
  x.routing = &none;
  int64_t bytes = 4 * op.shape.m * op.shape.n;  // in the gradient's place
  const auto add = [&](TensorId id, std::vector<CudaTensor>& to) {
    const Tensor& t = g.tensors[id.v];
    CudaTensor dummy;
    dummy.rows = t.rows, dummy.cols = t.cols;
    to.push_back(dummy);
    bytes = std::max(bytes, device_bytes(t.dtype, t.rows, t.cols, t.groups));
  };
  for (TensorId id : g.inputs(op)) add(id, x.in);
  for (TensorId id : g.outputs(op)) add(id, x.out);
  // Inputs may share memory; the output has its own half.
  const auto half = static_cast<std::size_t>((bytes + 511) / 512 * 512);
  if (memory.bytes() < 2 * half) memory = DeviceArray(2 * half);
  for (CudaTensor& t : x.in) t.data = memory.as<char>();
  for (CudaTensor& t : x.out) t.data = memory.as<char>() + half;
  FixedScratch scratch(nullptr);
  CudaOpCall c = resolve(x, scratch);
  if (c.grad != nullptr) c.grad = reinterpret_cast<float*>(memory.as<char>() + half);
  if (!launch_matrix_op(c)) launch_muon_op(c, optimizer_);
  stream(s).cuda.synchronise();
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

Collectives* CudaRank::group_of(const OptimizerShare& share) const {
  const auto& comms = weights_.layout().rank_class().communicators;
  for (std::size_t i = 0; i < comms.size(); ++i)
    if (comms[i].kind == share.comm && comms[i].key == static_cast<uint32_t>(share.stage))
      return communicators_[i];
  return nullptr;
}

void CudaRank::gather_weights() {
  const cudaStream_t on = stream(StreamKind::kGradient).cuda.get();
  for (std::size_t i = 0; i < weights_.shares().size(); ++i) {
    CudaWeights::Share& s = weights_.shares()[i];
    const std::vector<kernels::bf16> owned = weights_.rounded_master(static_cast<int>(i));
    DeviceArray temporary;
    if (s.weights.bytes() == 0)
      temporary = DeviceArray(static_cast<std::size_t>(2 * s.spec->elements));
    auto* all = (s.weights.bytes() == 0 ? temporary : s.weights).as<kernels::bf16>();
    copy_to_device(all + s.begin, owned.data(), owned.size() * sizeof(kernels::bf16),
                   "copying weights");
    Collectives* group = group_of(*s.spec);
    if (s.spec->shards > 1) group->all_gather(all, shards_of(*s.spec), on);
    weights_.cast(static_cast<int>(i), all, on);
    cuda_check(cudaStreamSynchronize(on), "gathering weights");
  }
}

void CudaRank::read_weights(int share, std::span<float> out) const {
  const CudaWeights::Share& s = weights_.shares()[static_cast<std::size_t>(share)];
  std::vector<kernels::bf16> values;
  if (s.weights.bytes() > 0) {
    values.resize(out.size());
    cuda_check(
        cudaMemcpy(values.data(), s.weights.as<void>(), s.weights.bytes(), cudaMemcpyDeviceToHost),
        "reading weights");
  } else if (s.spec->shards == 1) {
    values = weights_.rounded_master(share);
  } else {
    throw Error(ExitCode::kFailure,
                "FP8 weights whose masters are sharded over several ranks cannot be read whole; "
                "save with zero_stage 0 or one replica");
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = __bfloat162float(values[i]);
}

// ---- The driver's calls.

void CudaRank::begin_program(const RankClass& c) {
  blocks_.assign(c.blocks.size(), {});
  call_index_ = 0;
}

void CudaRank::begin_block(uint32_t block) { block_ = block; }

void CudaRank::call(const Call& call) {
  call_ = call;
  stage_tokens();
  if (graphs_[call.block].possible() && !recording_) {
    call_as_graph(call.block);
  } else {
    for (const Instr& i : blocks_[call.block]) {
      prepare(i, false);
      issue_all(false);
    }
  }
  ++call_index_;
}

// A slot is the number of the micro-batch within the pipeline.
void CudaRank::stage_tokens() {
  if (call_.forward_slot < 0) return;
  cuda_check(
      cudaMemcpyAsync(
          batch_tokens_.as<char>(),
          tokens_.as<char>() +
              static_cast<std::size_t>(
                  weights_.layout().rank_class().micro_batch_of_slot(call_.forward_slot)) *
                  batch_tokens_.bytes(),
          batch_tokens_.bytes(), cudaMemcpyDeviceToDevice, stream(StreamKind::kCompute).cuda.get()),
      "copying tokens");
}

StepResult CudaRank::run_step(const StepTokens& tokens, const OptimizerStep& optimizer) {
  optimizer_ = optimizer;
  pool_.take_peak();
  timed_.clear();
  upload_tokens(tokens);
  if (recording_) {
    const cudaStream_t compute = stream(StreamKind::kCompute).cuda.get();
    event_overhead_ = event_overhead(compute);
    cuda_check(cudaEventRecord(step_start_.get(), compute), "recording an event");
  }
  run_program(*this, plan_, weights_.layout().place().rank_class);
  return finish_step();
}

// All sequences of the step; blocks that load tokens read them from here.
void CudaRank::upload_tokens(const StepTokens& tokens) {
  const PlanSpec& p = config_.plan;
  const auto length = static_cast<std::size_t>(tokens_per_sequence(config_));
  const int64_t n = p.micro_batches() * p.micro_batch;
  const int64_t first = weights_.layout().position().data * n;
  for (int64_t i = 0; i < n; ++i)
    tokens.source->sample(tokens.first_sequence + static_cast<uint64_t>(first + i),
                          {host_tokens_.data() + static_cast<std::size_t>(i) * length, length});
  cuda_check(cudaMemcpyAsync(tokens_.as<int32_t>(), host_tokens_.data(), tokens_.bytes(),
                             cudaMemcpyHostToDevice, stream(StreamKind::kCompute).cuda.get()),
             "copying tokens");
}

StepResult CudaRank::finish_step() {
  for (const Stream& s : streams_) s.cuda.synchronise();
  cuda_check(cudaGetLastError(), "a training step");
  // Everything so far is over, for every stream.
  StreamClock all{};
  for (const Stream& s : streams_) merge(all, s.clock);
  for (Stream& s : streams_) s.clock = all;
  for (MemoryPool* p : {&pool_, &host_pool_}) p->settle();
  const float* statistics = weights_.host_statistics();
  StepResult r;
  r.grad_norm = std::sqrt(static_cast<double>(statistics[0]));
  const auto tokens = static_cast<double>(config_.plan.global_batch * config_.plan.sequence_length);
  for (int64_t d = 0; d < 1 + config_.model.mtp_layers; ++d)
    r.losses.push_back(static_cast<double>(statistics[1 + d]) / tokens);
  if (config_.model.router.bias)
    for (int chunk = 0;
         chunk < static_cast<int>(weights_.layout().rank_class().stage_of_chunk.size()); ++chunk) {
      const RankLayout::Range loads = weights_.layout().router_loads(chunk);
      const std::span<const float> of_chunk(weights_.host_buffers() + loads.offset,
                                            static_cast<std::size_t>(loads.elements));
      r.expert_load = std::max(r.expert_load, busiest_expert(of_chunk, config_.model.experts));
    }
  memory_.allocated_peak_bytes = weights_.static_bytes() + pool_.take_peak();
  memory_.reserved_bytes = weights_.static_bytes() + pool_.reserved();
  if (recording_) collect_records();
  return r;
}

void CudaRank::collect_records() {
  records_.clear();
  for (Timed& t : timed_) {
    float start = 0, end = 0;
    cuda_check(cudaEventElapsedTime(&start, step_start_.get(), t.start.get()), "timing an op");
    cuda_check(cudaEventElapsedTime(&end, step_start_.get(), t.end.get()), "timing an op");
    t.record.end = Picos(std::llround(static_cast<double>(end) * 1e9));
    // The kernel starts after its event: what is waited for in between is not its time.
    t.record.start = std::min(
        t.record.end, Picos(std::llround(static_cast<double>(start) * 1e9)) + event_overhead_);
    records_.push_back(t.record);
  }
}

// ---- Instructions.

CudaRank::Event& CudaRank::event(Role role, uint32_t arg) {
  if (role == Role::kBlock) return block_events_[arg];
  return slot_events_[slot(role) * kSlotEvents + arg];
}

std::size_t CudaRank::slot(Role role) const {
  const int32_t s = role == Role::kForward ? call_.forward_slot : call_.backward_slot;
  return static_cast<std::size_t>(s < 0 ? weights_.layout().rank_class().slots() : s);
}

int CudaRank::stage(Role role) const {
  const Block& b = weights_.layout().rank_class().blocks[call_.block];
  return role == Role::kForward ? b.forward_stage : b.backward_stage;
}

CudaRouting& CudaRank::routing(Role role, int16_t unit) {
  CudaRouting& r = routing_[slot(role) * stride_ + static_cast<std::size_t>(unit)];
  if (config_.plan.expert_parallel == 1) {
    // All tokens are here; the host never learns how many rows each expert gets.
    r.arrived = config_.plan.rows_per_rank();
    r.expanded = kernels::expert_layout_capacity(r.arrived, config_.model.experts_per_token,
                                                 config_.model.experts, kExpertRowAlignment);
  }
  return r;
}

void CudaRank::prepare(const Instr& i, bool for_graph) {
  Stream& s = stream(i.stream);
  switch (i.kind) {
    case Instr::Kind::kLaunch:
      return prepare_op(i.stream, i.arg, for_graph);
    case Instr::Kind::kRecord:
      prepared_.push_back({Prepared::Kind::kRecord, i.stream, i.role, &event(i.role, i.arg)});
      prepared_.back().event->clock = s.clock;
      return;
    case Instr::Kind::kWait:
      prepared_.push_back({Prepared::Kind::kWait, i.stream, i.role, &event(i.role, i.arg)});
      merge(s.clock, prepared_.back().event->clock);
      return;
    case Instr::Kind::kAlloc:
      return allocate(i.stream, i.role, i.arg);
    case Instr::Kind::kFree:
      return release(i.stream, i.role, i.arg);
  }
}

void CudaRank::prepare_op(StreamKind s, uint32_t plan_op, bool for_graph) {
  const PlanOp& p = plan_.ops[plan_op];
  const StageGraph& g = plan_.stages[p.stage];
  const Op& op = g.ops[p.graph_op];
  Prepared x{Prepared::Kind::kOp, s, p.role};
  x.plan_op = plan_op;
  for (TensorId id : g.inputs(op)) x.in.push_back(tensor(p.role, id.v));
  for (TensorId id : g.outputs(op)) x.out.push_back(tensor(p.role, id.v));
  x.routing = &routing(p.role, op.unit);
  if (for_graph) {
    FixedScratch none(nullptr);
    const int64_t bytes = scratch_bytes(resolve(x, none));
    if (bytes > 0) x.scratch = take(bytes, s, false);
  }
  ++stream(s).clock[static_cast<std::size_t>(s)];
  if (x.scratch != nullptr) pool_.free(x.scratch, point(s));
  prepared_.push_back(std::move(x));
}

// The latest point of a stream, as the uses of memory there name it.
StreamClock CudaRank::point(StreamKind s) {
  StreamClock c{};
  c[static_cast<std::size_t>(s)] = stream(s).clock[static_cast<std::size_t>(s)];
  return c;
}

void CudaRank::issue(Prepared& p) {
  const cudaStream_t on = stream(p.stream).cuda.get();
  switch (p.kind) {
    case Prepared::Kind::kOp:
      return issue_op(p);
    case Prepared::Kind::kRecord:
      return cuda_check(cudaEventRecord(p.event->cuda.get(), on), "recording an event");
    case Prepared::Kind::kWait:
      return cuda_check(cudaStreamWaitEvent(on, p.event->cuda.get()), "waiting for an event");
    case Prepared::Kind::kWaitStream: {
      const CudaEvent now;
      cuda_check(cudaEventRecord(now.get(), streams_[static_cast<std::size_t>(p.other)].cuda.get()),
                 "recording an event");
      return cuda_check(cudaStreamWaitEvent(on, now.get()), "waiting for an event");
    }
  }
}

// In a graph, events that outlive the call are left out: they cannot be part of one.
void CudaRank::issue_all(bool in_graph) {
  for (Prepared& p : prepared_) {
    const bool event = p.kind == Prepared::Kind::kRecord || p.kind == Prepared::Kind::kWait;
    if (in_graph && event && p.role != Role::kBlock) continue;
    issue(p);
  }
  if (!in_graph) prepared_.clear();
}

std::vector<const void*> CudaRank::addresses() const {
  std::vector<const void*> all;
  for (const Prepared& p : prepared_) {
    for (const CudaTensor& t : p.in) all.push_back(t.data);
    for (const CudaTensor& t : p.out) all.push_back(t.data);
    if (p.kind == Prepared::Kind::kOp) all.push_back(p.scratch);
  }
  return all;
}

void CudaRank::call_as_graph(uint32_t block) {
  for (const Instr& i : blocks_[block]) prepare(i, true);
  BlockGraphs& graphs = graphs_[block];
  const BlockGraphs::State state = graphs.look_up(addresses());
  if (state == BlockGraphs::State::kNew) return issue_all(false);
  const cudaStream_t main = stream(StreamKind::kCompute).cuda.get();
  const cudaStream_t aux = stream(StreamKind::kComputeAux).cuda.get();
  const CudaEvent point;
  const auto order = [&](cudaStream_t before, cudaStream_t after) {
    cuda_check(cudaEventRecord(point.get(), before), "recording an event");
    cuda_check(cudaStreamWaitEvent(after, point.get()), "waiting for an event");
  };
  // Waits for what other calls did come before the graph, what they wait for after it.
  for (const Prepared& p : prepared_)
    if (p.kind == Prepared::Kind::kWait && p.role != Role::kBlock)
      cuda_check(cudaStreamWaitEvent(main, p.event->cuda.get()), "waiting for an event");
  order(aux, main);
  if (state == BlockGraphs::State::kSeen) {
    cuda_check(cudaStreamBeginCapture(main, cudaStreamCaptureModeRelaxed), "capturing a block");
    order(main, aux);
    issue_all(true);
    order(aux, main);
    graphs.end_capture(main);
  }
  graphs.launch(main);
  order(main, aux);
  for (const Prepared& p : prepared_)
    if (p.kind == Prepared::Kind::kRecord && p.role != Role::kBlock)
      cuda_check(cudaEventRecord(p.event->cuda.get(), main), "recording an event");
  prepared_.clear();
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
  if (d == DynamicRows::kNone) return fixed;
  return d == DynamicRows::kExpanded ? r.expanded : r.arrived;
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
    bytes = 4 * kernels::expert_layout_ints(r.arrived, k, local, r.expanded);
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

CudaOpCall CudaRank::resolve(Prepared& x, Scratch& scratch) {
  const PlanOp& p = plan_.ops[x.plan_op];
  const StageGraph& g = plan_.stages[p.stage];
  const Op& op = g.ops[p.graph_op];
  Stream& on = stream(x.stream);
  CudaOpCall c{op, g, config_, numerics_, on.cuda.get(), *on.gemm, scratch, weights_};
  c.rope_table = rope_table_.as<float2>();
  c.tokens_of_batch = batch_tokens_.as<int32_t>();
  for (CudaTensor& t : x.in) c.in.push_back(&t);
  for (CudaTensor& t : x.out) c.out.push_back(&t);
  c.ranks = config_.plan.expert_parallel;
  c.local_experts = config_.model.experts / c.ranks;
  c.routing = x.routing;
  c.at = weights_.layout().position();
  if (op.param.valid()) bind_param(c, p.stage);
  if (op.bias.valid()) bind_bias(c, p.stage);
  return c;
}

void CudaRank::bind_bias(CudaOpCall& c, int stage) {
  // Once in the sum over ranks that split the inputs.
  if (c.param != nullptr && c.param->shard.axis == ShardAxis::kCols && c.at.tensor > 0) return;
  c.bias = weights_.kernel_weight(stage, c.op.bias);
  c.bias_grad = weights_.gradient(stage, c.op.bias);
}

void CudaRank::bind_param(CudaOpCall& c, int stage) {
  c.param = &c.graph.params[c.op.param.v];
  c.weight = weights_.kernel_weight(stage, c.op.param);
  c.grad = weights_.gradient(stage, c.op.param);
  if (c.op.kind == OpKind::kRouter && !c.op.again) {
    const ParamId load = c.graph.find_param("router.load", c.param->layer);
    c.load = weights_.kernel_weight(stage, load).f32;
  }
}

void CudaRank::issue_op(Prepared& x) {
  const PlanOp& p = plan_.ops[x.plan_op];
  const cudaStream_t on = stream(x.stream).cuda.get();
  std::string& name = names_[x.plan_op];
  if (name.empty()) name = fmt::format("op={} {}", x.plan_op, plan_.op_name(x.plan_op));
  nvtxRangePushA(name.c_str());
  if (recording_) {
    timed_.emplace_back();
    cuda_check(cudaEventRecord(timed_.back().start.get(), on), "timing an op");
  }
  try {
    if (graphs_[call_.block].possible() && !recording_) {
      FixedScratch scratch(x.scratch);
      CudaOpCall c = resolve(x, scratch);
      run_op(c, p);
    } else {
      StreamScratch scratch(*this, x.stream);
      CudaOpCall c = resolve(x, scratch);
      run_op(c, p);
      if (recording_) timed_.back().record.held = Bytes(weights_.static_bytes() + pool_.in_use());
    }
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", plan_.op_name(x.plan_op), e.what()));
  }
  // While a block is captured its events would become part of the graph.
  if (flight_ != nullptr && !graphs_[call_.block].possible())
    flight_->record(x.stream, x.plan_op, on);
  if (recording_) {
    Timed& t = timed_.back();
    cuda_check(cudaEventRecord(t.end.get(), on), "timing an op");
    t.record = {Picos(0),
                Picos(0),
                x.plan_op,
                call_index_,
                static_cast<uint16_t>(weights_.layout().place().rank_class),
                x.stream,
                t.record.held};
  }
  nvtxRangePop();
}

void CudaRank::run_op(CudaOpCall& c, const PlanOp& p) {
  if (p.communicator >= 0)
    return launch_collective(c, communicators_[static_cast<std::size_t>(p.communicator)]);
  if (launch_map_op(c) || launch_cast_op(c) || launch_matrix_op(c) || launch_moe_op(c) ||
      launch_block_op(c) || launch_activation_copy(c) || launch_optimizer_op(c, optimizer_))
    return;
  throw Error(ExitCode::kInternal, "the CUDA backend has no such op");
}

}  // namespace orrery
