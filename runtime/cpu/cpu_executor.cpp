#include "runtime/cpu/cpu_executor.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr int64_t kFloatBytes = 4;

int64_t physical_memory() {
  return int64_t{::sysconf(_SC_PHYS_PAGES)} * int64_t{::sysconf(_SC_PAGESIZE)};
}

int64_t resident_bytes() {
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * int64_t{::sysconf(_SC_PAGESIZE)};
}

const ExecPlan& fitting(const ExecPlan& plan, std::optional<int64_t> only) {
  const int64_t needed = cpu_static_bytes(plan, only), there = physical_memory();
  if (needed <= there) return plan;
  throw Infeasible(fmt::format(
      "the CPU backend would hold {:.1f} GiB of weights, gradients and optimizer "
      "states for {}, and this machine has {:.1f} GiB of memory",
      static_cast<double>(needed) / kBytesPerGiB,
      only ? fmt::format("rank {}", *only) : fmt::format("the plan's {} ranks", plan.ranks()),
      static_cast<double>(there) / kBytesPerGiB));
}

std::vector<float>& shard(CpuState<float>& s, int share, StateKind kind) {
  const auto i = static_cast<std::size_t>(share);
  switch (kind) {
    case StateKind::kMaster:
      return s.master[i];
    case StateKind::kFirstMoment:
      return s.m[i];
    case StateKind::kSecondMoment:
      break;
  }
  return s.v[i];
}

// `to` and `from` are of the same size: that of an array of the layout.
void copy_all(std::span<const float> from, std::span<float> to, const char* what) {
  if (from.size() != to.size())
    throw Error(ExitCode::kInternal,
                fmt::format("{}: {} values for an array of {}", what, from.size(), to.size()));
  std::copy(from.begin(), from.end(), to.begin());
}

}  // namespace

int64_t cpu_static_bytes(const ExecPlan& plan, std::optional<int64_t> only) {
  int64_t floats = 0;
  for (std::size_t i = 0; i < plan.classes.size(); ++i) {
    if (only && plan.place(*only).rank_class != i) continue;
    const int64_t ranks = only ? 1 : plan.classes[i].multiplicity;
    for (const OptimizerShare& s : plan.classes[i].shares)
      floats += ranks * (3 * s.elements + (s.muon() ? 3 : 4) * s.owned());
  }
  return floats * kFloatBytes;
}

class CpuExecutor::Rank : public RankState {
 public:
  Rank(CpuExecutor& all, CpuRank<float>& rank, bool keep_gradients)
      : all_(all), rank_(rank), keep_gradients_(keep_gradients) {}

  const RankLayout& layout() const override { return rank_.layout(); }

  void read_weights(int share, std::span<float> out) const override {
    if (all_.gathered_late_) all_.gather_weights(rank_.state(), static_cast<std::size_t>(share));
    copy_all(rank_.state().weights[static_cast<std::size_t>(share)], out, "reading weights");
  }
  void write_weights(int share, std::span<const float> values) override {
    copy_all(values, rank_.weights(share), "writing weights");
    rank_.state().take_master(static_cast<std::size_t>(share));
    rank_.cast_kernel_weights();
  }

  std::size_t state_bytes(int share, StateKind kind) const override {
    return shard(rank_.state(), share, kind).size() * sizeof(float);
  }
  void read_state(int share, StateKind kind, std::span<std::byte> out) const override {
    check_bytes(share, kind, out.size());
    const auto held = std::as_bytes(std::span(shard(rank_.state(), share, kind)));
    std::copy(held.begin(), held.end(), out.begin());
  }
  void write_state(int share, StateKind kind, std::span<const std::byte> bytes) override {
    check_bytes(share, kind, bytes.size());
    const auto held = std::as_writable_bytes(std::span(shard(rank_.state(), share, kind)));
    std::copy(bytes.begin(), bytes.end(), held.begin());
  }

  void read_buffers(std::span<float> out) const override {
    copy_all(rank_.state().buffers, out, "reading buffers");
  }
  void write_buffers(std::span<const float> values) override {
    copy_all(values, rank_.state().buffers, "writing buffers");
  }

  void read_gradients(int share, std::span<float> out) const override {
    if (!keep_gradients_) throw Error(ExitCode::kInternal, "gradients were not kept");
    copy_all(rank_.reduced_gradients(share), out, "reading gradients");
  }

  CpuRank<float>& rank() const { return rank_; }

 private:
  void check_bytes(int share, StateKind kind, std::size_t bytes) const {
    if (bytes == state_bytes(share, kind)) return;
    throw Error(ExitCode::kInternal, fmt::format("{} bytes for an optimizer state of {}", bytes,
                                                 state_bytes(share, kind)));
  }

  CpuExecutor& all_;
  CpuRank<float>& rank_;
  bool keep_gradients_;
};

CpuExecutor::CpuExecutor(const ExecPlan& plan, const GraphConfig& config, const Numerics& numerics,
                         const ExecutorOptions& options, CpuNumerics mode)
    : plan_(fitting(plan, options.fake_group_rank)),
      fake_group_(options.fake_group_rank.has_value()),
      job_(plan, config, numerics, {mode, options.seed, options.record}, options.fake_group_rank),
      gathered_late_(config.plan.dp.overlap_param_gather) {
  for (int64_t r = 0; r < job_.ranks(); ++r)
    ranks_.push_back(std::make_unique<Rank>(*this, job_.rank(r), options.keep_gradients));
}

CpuExecutor::~CpuExecutor() = default;

std::vector<RankState*> CpuExecutor::local_ranks() {
  std::vector<RankState*> all;
  for (const auto& r : ranks_) all.push_back(r.get());
  return all;
}

StepResult CpuExecutor::step(const StepTokens& tokens, const OptimizerStep& optimizer) {
  const StepResult result = job_.step(tokens, optimizer);
  records_.clear();
  for (const auto& r : ranks_) {
    const std::vector<OpRecord> records = r->rank().take_records();
    records_.insert(records_.end(), records.begin(), records.end());
  }
  return result;
}

// Shards of the owners one after the other, as the step's all-gather leaves them.
void CpuExecutor::gather_weights(CpuState<float>& to, std::size_t share) {
  const RankClass& mine = to.layout.rank_class();
  const OptimizerShare& s = mine.shares[share];
  if (s.shards == 1) {
    to.weights[share] = to.master[share];
    return;
  }
  if (fake_group_) {  // the peers' parts stay what they are
    std::copy(to.master[share].begin(), to.master[share].end(),
              to.weights[share].begin() + to.layout.shard_begin(static_cast<int>(share)));
    return;
  }
  const auto same_weights = [&](const auto& x) { return x.stage == s.stage && x.group == s.group; };
  const auto comm = std::find_if(
      mine.communicators.begin(), mine.communicators.end(), [&](const Communicator& c) {
        return c.kind == s.comm && c.key == static_cast<uint32_t>(s.stage);
      });
  auto at = to.weights[share].begin();
  for (int64_t owner : plan_.members(*comm, to.layout.place().replica)) {
    const CpuState<float>& from = job_.rank(owner).state();
    const auto& theirs = from.layout.rank_class().shares;
    const auto i = std::find_if(theirs.begin(), theirs.end(), same_weights) - theirs.begin();
    const std::vector<float>& part = from.master[static_cast<std::size_t>(i)];
    at = std::copy(part.begin(), part.end(), at);
  }
}

void CpuExecutor::restore() {
  for (int64_t r = 0; r < job_.ranks(); ++r) {
    const std::size_t shares = job_.rank(r).layout().rank_class().shares.size();
    for (std::size_t i = 0; i < shares; ++i) gather_weights(job_.rank(r).state(), i);
    job_.rank(r).cast_kernel_weights();
  }
}

DeviceMemory CpuExecutor::memory() const {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return {int64_t{usage.ru_maxrss} * 1024, resident_bytes()};
}

std::vector<OpRecord> CpuExecutor::take_records() { return std::move(records_); }

}  // namespace orrery
