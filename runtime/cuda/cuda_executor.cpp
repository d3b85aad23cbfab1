// A process's rank on its GPU behind the Executor interface.
#include <algorithm>

#include "runtime/cuda/cuda_rank.h"
#include "runtime/cuda/factory.h"
#include "runtime/cuda/fake_groups.h"
#include "runtime/nccl/plan_groups.h"

namespace orrery {
namespace {

class CudaRankState : public RankState {
 public:
  explicit CudaRankState(CudaRank& rank) : rank_(rank) {}

  const RankLayout& layout() const override { return rank_.weights().layout(); }

  void read_weights(int share, std::span<float> out) const override {
    rank_.read_weights(share, out);
  }
  void write_weights(int share, std::span<const float> values) override {
    rank_.weights().set(share, values);
  }

  std::size_t state_bytes(int share, StateKind kind) const override {
    return state(share, kind).bytes();
  }
  void read_state(int share, StateKind kind, std::span<std::byte> out) const override {
    if (!out.empty()) state(share, kind).read(out.data(), "reading optimizer states");
  }
  void write_state(int share, StateKind kind, std::span<const std::byte> bytes) override {
    if (!bytes.empty()) state(share, kind).write(bytes.data(), "writing optimizer states");
  }

  void read_buffers(std::span<float> out) const override {
    cuda_check(
        cudaMemcpy(out.data(), rank_.weights().buffers(), out.size_bytes(), cudaMemcpyDeviceToHost),
        "reading buffers");
  }
  void write_buffers(std::span<const float> values) override {
    copy_to_device(rank_.weights().buffers(), values.data(), values.size_bytes(),
                   "writing buffers");
  }

  void read_gradients(int share, std::span<float> out) const override {
    const CudaWeights::Share& s = rank_.weights().shares()[static_cast<std::size_t>(share)];
    if (s.kept_gradients.bytes() == 0) throw Error(ExitCode::kInternal, "gradients were not kept");
    cuda_check(cudaMemcpy(out.data(), s.kept_gradients.as<float>(), out.size_bytes(),
                          cudaMemcpyDeviceToHost),
               "reading gradients");
  }

 private:
  const StateArray& state(int share, StateKind kind) const {
    const CudaWeights::Share& s = rank_.weights().shares()[static_cast<std::size_t>(share)];
    if (kind == StateKind::kMaster) return s.master;
    return s.moments[kind == StateKind::kFirstMoment ? 0 : 1];
  }

  CudaRank& rank_;
};

std::vector<Collectives*> pointers(const CollectiveGroups& groups) {
  std::vector<Collectives*> all;
  for (const auto& g : groups) all.push_back(g.get());
  return all;
}

class CudaExecutor : public Executor {
 public:
  CudaExecutor(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
               const ExecutorOptions& options, Bootstrap& bootstrap, CudaFlight* flight)
      : bootstrap_(bootstrap),
        groups_(options.fake_group_rank ? fake_groups(plan, *options.fake_group_rank)
                                        : connect_groups(plan, bootstrap)),
        rank_(plan, config, numerics, options.fake_group_rank.value_or(bootstrap.rank()), options,
              pointers(groups_), flight),
        state_(rank_) {}

  std::vector<RankState*> local_ranks() override { return {&state_}; }
  StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer) override {
    return rank_.run_step(tokens, optimizer);
  }
  void restore() override { rank_.gather_weights(); }
  void barrier() override { bootstrap_.barrier(after(std::chrono::minutes(10))); }
  DeviceMemory memory() const override { return rank_.memory(); }
  void set_recording(bool on) override { rank_.set_recording(on); }
  std::vector<OpRecord> take_records() override { return rank_.take_records(); }

 private:
  Bootstrap& bootstrap_;
  CollectiveGroups groups_;
  CudaRank rank_;
  CudaRankState state_;
};

}  // namespace

void check_gpu() {
  int devices = 0;
  const cudaError_t e = cudaGetDeviceCount(&devices);
  if (e != cudaSuccess || devices == 0)
    throw Error(
        ExitCode::kUnavailable,
        fmt::format("no GPU: {}; --device cpu runs small models without one",
                    e == cudaErrorInsufficientDriver ? "no NVIDIA driver, or one that is too old"
                    : e == cudaSuccess               ? "none was found"
                                                     : cudaGetErrorString(e)));
}

std::unique_ptr<Executor> make_cuda_executor(const ExecPlan& plan, const GraphConfig& config,
                                             const Numerics& numerics,
                                             const ExecutorOptions& options, Bootstrap& bootstrap,
                                             CudaFlight* flight) {
  check_gpu();
  return std::make_unique<CudaExecutor>(plan, config, numerics, options, bootstrap, flight);
}

}  // namespace orrery
