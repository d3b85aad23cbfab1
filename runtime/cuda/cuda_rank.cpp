#include "runtime/cuda/cuda_rank.h"

#include <algorithm>
#include <cmath>

#include "runtime/cuda/event_overhead.h"

namespace orrery {
namespace {

// cuBLAS's own recommendation for Hopper.
constexpr std::size_t kGemmWorkspace = std::size_t{32} << 20;

bool computes(int stream) {
  return stream == static_cast<int>(StreamKind::kCompute) ||
         stream == static_cast<int>(StreamKind::kComputeAux);
}

}  // namespace

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
  for (std::size_t k = 0; k < c.communicators.size(); ++k)
    if (c.communicators[k].kind == CommKind::kExpertTensor) expert_tensor_ = communicators_[k];
  weights_.initialise(options.seed, config.model.initializer_range);
  pool_.reserve(std::min(planned_bytes(MemoryPool::Of::kDevice), free_bytes()));
  if (config.plan.offload_activations) host_pool_.reserve(planned_bytes(MemoryPool::Of::kPinned));
  initialise();
}

// The table of the rank's positions, in their order.
std::vector<float> CudaRank::rope_of_positions() const {
  const PlanSpec& p = config_.plan;
  std::vector<float> all, own;
  kernels::rope_table<float>(p.sequence_length, config_.model.rope_dim(), numerics_.rope, all);
  const auto width = static_cast<int64_t>(all.size()) / p.sequence_length;
  for (const PositionRun& run : position_runs(p, weights_.layout().position().context))
    own.insert(own.end(), all.begin() + run.position * width,
               all.begin() + (run.position + run.count) * width);
  return own;
}

void CudaRank::initialise() {
  const std::vector<float> table = rope_of_positions();
  rope_table_ = DeviceArray(table.size() * sizeof(float));
  copy_to_device(rope_table_.as<float>(), table.data(), rope_table_.bytes(),
                 "copying the RoPE table");
  tokens_ = DeviceArray(host_tokens_.size() * sizeof(int32_t));
  batch_tokens_ = DeviceArray(
      static_cast<std::size_t>(4 * config_.plan.micro_batch * tokens_per_sequence(config_)));
  rehearse();
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

// ---- What an instruction names.

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

}  // namespace orrery
