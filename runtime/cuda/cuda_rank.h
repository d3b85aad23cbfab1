// One rank on a GPU: a backend of the driver (sim/exec/driver.h) that puts every instruction of the
// plan on CUDA streams in program order. The host runs ahead of the device; it waits only where a
// layer's first all-to-all tells how many rows arrive, and at the end of a step. Blocks without
// communication become CUDA graphs when they come back with the same addresses.
//
// cuda_rank.cpp has the set-up and the course of a step, rank_issue.cpp instructions, rank_ops.cpp
// ops, rank_memory.cpp tensors, rank_rehearsal.cpp what runs before the first step.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/cuda/block_graphs.h"
#include "runtime/cuda/collectives.h"
#include "runtime/cuda/flight.h"
#include "runtime/cuda/op_call.h"
#include "runtime/executor.h"
#include "sim/exec/driver.h"

namespace orrery {

class CudaRank {
 public:
  // `plan` and `config` outlive the rank. `communicators`: of the rank's class, in its order.
  CudaRank(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics, int64_t rank,
           const ExecutorOptions& options, std::vector<Collectives*> communicators,
           CudaFlight* flight = nullptr);

  StepResult run_step(const StepTokens& tokens, const OptimizerStep& optimizer);
  // Weights and kernel copies of every share from its owners' master weights. Collective.
  void gather_weights();
  // The gathered BF16 weights; with FP8 weights they are only there for one owner.
  void read_weights(int share, std::span<float> out) const;
  CudaWeights& weights() { return weights_; }
  const CudaWeights& weights() const { return weights_; }
  void set_recording(bool on) { recording_ = on; }
  std::vector<OpRecord> take_records() { return std::move(records_); }
  DeviceMemory memory() const { return memory_; }

  // Backend.
  void begin_program(const RankClass& c);
  void begin_block(uint32_t block);
  void launch(uint32_t op, StreamKind s) { add(Instr::Kind::kLaunch, s, Role::kBlock, op); }
  void record(uint32_t e, StreamKind s, Role r) { add(Instr::Kind::kRecord, s, r, e); }
  void wait(uint32_t e, StreamKind s, Role r) { add(Instr::Kind::kWait, s, r, e); }
  void alloc(uint32_t t, StreamKind s, Role r) { add(Instr::Kind::kAlloc, s, r, t); }
  void free(uint32_t t, StreamKind s, Role r) { add(Instr::Kind::kFree, s, r, t); }
  void end_block() {}
  void call(const Call& call);
  void end_program() {}

 private:
  struct Stream {
    explicit Stream(bool high_priority) : cuda(high_priority) {}
    CudaStream cuda;
    StreamClock clock{};
    std::unique_ptr<DeviceArray> gemm_workspace;
    std::unique_ptr<kernels::GemmContext> gemm;
  };
  struct Event {
    CudaEvent cuda;
    StreamClock clock{};
  };
  struct Timed {
    OpRecord record;
    CudaEvent start{true}, end{true};
  };
  class StreamScratch;
  class FixedScratch;

  void add(Instr::Kind k, StreamKind s, Role r, uint32_t arg) {
    blocks_[block_].push_back({k, s, r, 0, arg});
  }
  void upload_tokens(const StepTokens& tokens);
  std::vector<float> rope_of_positions() const;
  void initialise();
  void rehearse();
  void rehearse_op(const PlanOp& p, uint32_t plan_op, StreamKind s, DeviceArray& memory);
  int64_t planned_bytes(MemoryPool::Of of);
  static int64_t free_bytes();
  // Bytes of a tensor with its real shape; `groups` matrices each with whole 128x128 blocks.
  static int64_t device_bytes(Dtype dtype, int64_t rows, int64_t cols, int64_t groups);
  static void merge(StreamClock& into, const StreamClock& from) {
    for (std::size_t s = 0; s < into.size(); ++s) into[s] = std::max(into[s], from[s]);
  }
  StepResult finish_step();
  void collect_records();
  Collectives* group_of(const OptimizerShare& share) const;

  Stream& stream(StreamKind s) { return streams_[static_cast<std::size_t>(s)]; }
  Event& event(Role role, uint32_t arg);
  std::size_t slot(Role role) const;
  int stage(Role role) const;
  CudaTensor& tensor(Role role, uint32_t id) { return tensors_[slot(role) * stride_ + id]; }
  CudaRouting& routing(Role role, int16_t unit);

  // An instruction with everything that its execution depends on, so that it can be put on its
  // stream later, or into a graph.
  struct Prepared {
    enum class Kind : uint8_t { kOp, kRecord, kWait, kWaitStream } kind;
    StreamKind stream;
    Role role = Role::kBlock;
    Event* event = nullptr;
    int other = 0;  // kWaitStream
    uint32_t plan_op = 0;
    std::vector<CudaTensor> in = {}, out = {};
    CudaRouting* routing = nullptr;
    char* scratch = nullptr;
  };
  void prepare(const Instr& i, bool for_graph);
  void prepare_op(StreamKind s, uint32_t plan_op, bool for_graph);
  void issue(Prepared& p);
  void issue_op(Prepared& p);
  void issue_all(bool in_graph);
  void call_as_graph(uint32_t block);
  std::vector<const void*> addresses() const;
  void stage_tokens();
  StreamClock point(StreamKind s);

  void allocate(StreamKind s, Role role, uint32_t id);
  void release(StreamKind s, Role role, uint32_t id);
  // A wait that the memory needs is put on the stream at once or among the prepared.
  char* take(int64_t bytes, StreamKind s, bool at_once) { return take(pool_, bytes, s, at_once); }
  char* take(MemoryPool& pool, int64_t bytes, StreamKind s, bool at_once);
  MemoryPool& pool_of(const Tensor& t) { return t.kind == BufferKind::kHost ? host_pool_ : pool_; }
  CudaOpCall resolve(Prepared& p, Scratch& scratch);
  void bind_param(CudaOpCall& c, int stage);
  void bind_bias(CudaOpCall& c, int stage);
  void run_op(CudaOpCall& c, const PlanOp& p);
  int64_t rows_of(DynamicRows d, int64_t fixed, const CudaRouting& r) const;

  const ExecPlan& plan_;
  const GraphConfig config_;
  const Numerics numerics_;
  const ExecutorOptions options_;
  CudaWeights weights_;
  std::vector<Collectives*> communicators_;
  Collectives* expert_tensor_ = nullptr;  // CudaOpCall::expert_tensor
  CudaFlight* flight_;
  MemoryPool pool_, host_pool_{MemoryPool::Of::kPinned};
  std::vector<Stream> streams_;
  std::vector<Event> block_events_, slot_events_;
  std::vector<std::vector<Instr>> blocks_;
  std::vector<Prepared> prepared_;   // not yet on their streams
  std::vector<BlockGraphs> graphs_;  // per block
  uint32_t block_ = 0;
  Call call_;
  uint32_t call_index_ = 0;
  std::size_t stride_ = 0;
  std::vector<CudaTensor> tensors_;
  std::vector<CudaRouting> routing_;
  DeviceArray rope_table_;
  DeviceArray tokens_;              // of all the rank's micro-batches
  DeviceArray batch_tokens_;        // of the call's forward micro-batch
  std::vector<std::string> names_;  // of the plan's ops, for profilers
  PinnedArray<int32_t> host_tokens_;
  OptimizerStep optimizer_;
  bool recording_ = false;
  std::vector<Timed> timed_;
  CudaEvent step_start_{true};
  Picos event_overhead_{0};
  std::vector<OpRecord> records_;
  DeviceMemory memory_;
};

}  // namespace orrery
