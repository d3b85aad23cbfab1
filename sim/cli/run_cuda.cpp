// The part of `orrery run` that needs CUDA, or says that it is missing.
#include <fmt/format.h>

#include "runtime/launch/environment.h"
#include "sim/cli/run.h"

#ifdef ORRERY_HAS_CUDA
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

#include "runtime/cuda/factory.h"
#include "runtime/launch/bootstrap.h"
#include "runtime/launch/spawn.h"
#include "runtime/launch/watchdog.h"
#endif

namespace orrery {

#ifndef ORRERY_HAS_CUDA

namespace {

[[noreturn]] void not_built() {
  throw Error(ExitCode::kUnavailable,
              "no GPU: this orrery was built without CUDA; --device cpu runs small models without "
              "one");
}

}  // namespace

int start_cuda_ranks(const RunArguments&, const StudySpec&) { not_built(); }

RunDevice open_cuda(const RunArguments&, const StudySpec&, const ExecPlan&, const GraphConfig&,
                    const Numerics&, const ExecutorOptions&) {
  not_built();
}

#else

namespace {

constexpr double kCommTimeout = 600;  // seconds

std::vector<std::string> process_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// Lets this process see its GPU only; before the first CUDA call. A launcher that gives each rank a
// GPU of its own is left alone.
void choose_gpu(const RankInfo& info, int ranks_per_gpu) {
  const auto number = static_cast<std::size_t>(info.local_rank / ranks_per_gpu);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  std::string mine = std::to_string(number);
  if (visible != nullptr) {
    const std::vector<std::string> all = split(visible);
    if (all.size() == 1) return;
    if (number >= all.size())
      throw Error(
          ExitCode::kUnavailable,
          fmt::format("rank {} would use GPU number {} of this machine, but "
                      "CUDA_VISIBLE_DEVICES={} has {}; --ranks-per-gpu lets ranks share one",
                      info.rank, number, visible, all.size()));
    mine = all[number];
  }
  ::setenv("CUDA_VISIBLE_DEVICES", mine.c_str(), 1);
}

// A receive that spins on the GPU must not hold up what its sender needs to send. Before the first
// CUDA call.
void let_streams_overtake() {
  // Streams that share a hardware queue wait for each other. The default is 8 queues; the plan has
  // 12 streams and NCCL some of its own.
  ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
  // Loading a kernel when it is first launched waits for those that run.
  ::setenv("CUDA_MODULE_LOADING", "EAGER", 1);
}

// NCCL refuses two ranks on one GPU of one host: each counts as a host of its own, and they talk
// over loopback sockets. Before the first NCCL call.
void share_gpu(const RankInfo& info, int ranks_per_gpu) {
  if (ranks_per_gpu < 2) return;
  ::setenv("NCCL_HOSTID", fmt::format("orrery-rank-{}", info.rank).c_str(), 1);
  if (info.single_machine()) ::setenv("NCCL_SOCKET_IFNAME", "lo", 0);
}

std::chrono::milliseconds comm_timeout(const RunArguments& a) {
  const double seconds = a.comm_timeout_s > 0 ? a.comm_timeout_s : kCommTimeout;
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

// The connections of a rank. The watchdog ends before the bootstrap that it watches.
struct Connection {
  Connection(const RankInfo& info, const RunArguments& a, const ExecPlan& plan)
      : timeout(comm_timeout(a)), bootstrap(info), flight(plan) {
    WatchdogOptions o;
    o.rank = info.rank;
    if (!a.out.empty()) o.directory = a.out;
    watchdog.emplace(o, &bootstrap, &flight.recorder(), flight.readers(),
                     [](const std::string&) {});
  }
  Deadline deadline() const { return after(timeout); }

  std::chrono::milliseconds timeout;
  Bootstrap bootstrap;
  CudaFlight flight;
  std::optional<Watchdog> watchdog;
};

// Every call that waits for a device or other ranks is to come back in time.
class WatchedExecutor : public Executor {
 public:
  WatchedExecutor(std::unique_ptr<Executor> inner, Connection& connection)
      : inner_(std::move(inner)), connection_(connection) {}

  std::vector<RankState*> local_ranks() override { return inner_->local_ranks(); }
  StepResult step(const StepTokens& tokens, const OptimizerStep& optimizer) override {
    const Watched w(connection_, fmt::format("step {}", optimizer.step));
    return inner_->step(tokens, optimizer);
  }
  void restore() override {
    const Watched w(connection_, "gathering the weights");
    inner_->restore();
  }
  void barrier() override { inner_->barrier(); }
  DeviceMemory memory() const override { return inner_->memory(); }
  void set_recording(bool on) override { inner_->set_recording(on); }
  std::vector<OpRecord> take_records() override { return inner_->take_records(); }

 private:
  class Watched {
   public:
    Watched(Connection& c, std::string what)
        : watchdog_(*c.watchdog), ticket_(watchdog_.start(std::move(what), c.deadline())) {}
    ~Watched() { watchdog_.finish(ticket_); }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;

   private:
    Watchdog& watchdog_;
    int ticket_;
  };

  std::unique_ptr<Executor> inner_;
  Connection& connection_;
};

JobChannel channel_of(Connection& c) {
  JobChannel channel;
  if (c.bootstrap.size() == 1) return channel;
  channel.leader = c.bootstrap.rank() == 0;
  channel.broadcast = [&c](const std::string& text) {
    return c.bootstrap.broadcast(text, c.deadline());
  };
  channel.largest = [&c](int value) {
    int most = 0;
    const std::string mine(1, static_cast<char>(value));
    for (const std::string& other : c.bootstrap.all_gather(mine, c.deadline()))
      most = std::max(most, static_cast<int>(static_cast<unsigned char>(other.at(0))));
    return most;
  };
  return channel;
}

}  // namespace

int start_cuda_ranks(const RunArguments& a, const StudySpec& study) {
  if (a.fake_process_group) return -1;
  const RankInfo info = rank_info(process_environment());
  if (a.ranks > 0)
    check_world_size(study.plan, a.ranks, fmt::format("--ranks asks for {}", a.ranks));
  if (a.ranks > 1 && info.launcher == "none") return run_local(a.ranks, process_arguments());
  check_world_size(study.plan, info.world_size,
                   info.launcher == "none"
                       ? "this is a single process"
                       : fmt::format("{} started {}", info.launcher, info.world_size));
  return -1;
}

RunDevice open_cuda(const RunArguments& a, const StudySpec& study, const ExecPlan& plan,
                    const GraphConfig& config, const Numerics& numerics,
                    const ExecutorOptions& options) {
  const RankInfo info = a.fake_process_group ? RankInfo{} : rank_info(process_environment());
  choose_gpu(info, a.ranks_per_gpu);
  share_gpu(info, a.ranks_per_gpu);
  let_streams_overtake();
  check_gpu();
  const auto connection = std::make_shared<Connection>(info, a, plan);
  RunDevice d;
  d.connection = connection;
  d.name = study.cluster.node.gpu.name;
  d.executor = std::make_unique<WatchedExecutor>(
      make_cuda_executor(plan, config, numerics, options, connection->bootstrap,
                         &connection->flight),
      *connection);
  d.channel = channel_of(*connection);
  d.peak_flops = from_TFLOPS(study.cluster.node.gpu.bf16_dense_TFLOPS.value).count() *
                 static_cast<double>(plan.ranks());
  d.finish = [c = connection.get()] {
    c->watchdog.reset();
    c->bootstrap.finish(c->deadline());
  };
  d.fail = [c = connection.get()](const Error& e) {
    c->watchdog.reset();
    c->bootstrap.abort(e.what());
    if (c->bootstrap.size() == 1) return;
    // Taking the device down in order would wait for kernels that wait for ranks that are gone.
    fmt::print(stderr, "orrery: {}\n", e.what());
    std::_Exit(static_cast<int>(e.code()));
  };
  return d;
}

#endif

}  // namespace orrery
