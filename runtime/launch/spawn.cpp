#include "runtime/launch/spawn.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "runtime/launch/child.h"
#include "runtime/launch/handshake.h"
#include "runtime/launch/token.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr int kTimeout = static_cast<int>(ExitCode::kTimeout);
constexpr int kKilledBySignal = 128;  // plus the signal, as shells have it

bool failed(int status) { return !WIFEXITED(status) || WEXITSTATUS(status) != 0; }

std::string seconds_text(std::chrono::milliseconds time) {
  return fmt::format("{:g} s", std::chrono::duration<double>(time).count());
}

std::string how(int rank, int status) {
  if (WIFEXITED(status)) {
    return fmt::format("rank {} failed with exit code {}", rank, WEXITSTATUS(status));
  }
  const int number = WTERMSIG(status);
  const char* name = ::sigabbrev_np(number);
  return fmt::format("rank {} was killed by {} ({})", rank,
                     name ? fmt::format("SIG{}", name) : fmt::format("signal {}", number),
                     ::strsignal(number));
}

class Supervisor {
 public:
  explicit Supervisor(const SpawnOptions& options) : options_(options) {}

  void start(int ranks, const std::vector<std::string>& argv,
             const std::function<Environment(int)>& rank_environment);
  int wait();

 private:
  enum class Stage { kRunning, kGrace, kTerminating, kKilling };

  struct Failure {
    int rank;
    int status;
  };

  void wait_for_events() const;
  void take_signals();
  void reap();
  void escalate();
  void enter(Stage stage);
  bool any_running() const;
  const Failure* cause() const;  // null: a signal to this process
  int report() const;

  SpawnOptions options_;
  SupervisorSignals signals_;
  std::vector<Child> children_;
  std::vector<Failure> failures_;  // until the first signal to the ranks, in order
  std::vector<int> stragglers_;    // had to be terminated
  int interrupted_ = 0;            // the first SIGINT or SIGTERM
  Stage stage_ = Stage::kRunning;
  Deadline next_{};
};

void Supervisor::start(int ranks, const std::vector<std::string>& argv,
                       const std::function<Environment(int)>& rank_environment) {
  const Fd listener = listen_on("127.0.0.1", options_.port);
  const std::string token = random_token();
  for (int rank = 0; rank < ranks; ++rank) {
    Environment environment = process_environment();
    environment["ORRERY_RANK"] = environment["ORRERY_LOCAL_RANK"] = std::to_string(rank);
    environment["ORRERY_WORLD_SIZE"] = environment["ORRERY_LOCAL_SIZE"] = std::to_string(ranks);
    environment["ORRERY_ADDRESS"] = "127.0.0.1";
    environment["ORRERY_PORT"] = std::to_string(port_of(listener));
    environment["ORRERY_TOKEN"] = token;
    environment.erase("ORRERY_LISTEN_FD");
    // Rank 0 inherits the socket: nobody else can take the port meanwhile.
    if (rank == 0) environment["ORRERY_LISTEN_FD"] = std::to_string(listener.get());
    if (rank_environment) {
      for (auto& [name, value] : rank_environment(rank)) environment[name] = value;
    }
    children_.emplace_back(rank, options_.executable, argv, environment,
                           rank == 0 ? listener.get() : -1, signals_);
  }
}

int Supervisor::wait() {
  while (any_running()) {
    wait_for_events();
    take_signals();
    for (Child& child : children_) child.pump();
    reap();
    escalate();
  }
  return report();
}

bool Supervisor::any_running() const {
  for (const Child& child : children_) {
    if (child.running()) return true;
  }
  return false;
}

void Supervisor::wait_for_events() const {
  std::vector<pollfd> polled = {{signals_.fd().get(), POLLIN, 0}};
  for (const Child& child : children_) {
    if (child.output().valid()) polled.push_back({child.output().get(), POLLIN, 0});
  }
  // Woken now and then: a SIGCHLD is lost when another thread takes it.
  constexpr std::chrono::milliseconds kRound{100};
  const bool waiting = stage_ == Stage::kGrace || stage_ == Stage::kTerminating;
  const int timeout = waiting ? poll_milliseconds(next_, kRound) : static_cast<int>(kRound.count());
  ::poll(polled.data(), polled.size(), timeout);
}

void Supervisor::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.fd().get(), &info, sizeof info) == sizeof info) {
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) continue;
    if (interrupted_ != 0) {
      enter(Stage::kKilling);
      continue;
    }
    interrupted_ = number;
    // Ctrl-C: the terminal has sent it to the ranks already.
    if (info.ssi_code != SI_KERNEL) {
      for (const Child& child : children_) child.signal(number);
    }
    if (stage_ == Stage::kRunning) enter(Stage::kGrace);
  }
}

void Supervisor::reap() {
  for (Child& child : children_) {
    if (!child.reap() || !failed(child.status())) continue;
    // What dies of signals sent from here says nothing about the cause.
    if (interrupted_ == 0 && (stage_ == Stage::kRunning || stage_ == Stage::kGrace)) {
      failures_.push_back({child.rank(), child.status()});
    }
    if (stage_ == Stage::kRunning) enter(Stage::kGrace);
  }
}

void Supervisor::escalate() {
  if (stage_ == Stage::kRunning || stage_ == Stage::kKilling || !passed(next_)) return;
  enter(stage_ == Stage::kGrace ? Stage::kTerminating : Stage::kKilling);
}

void Supervisor::enter(Stage stage) {
  stage_ = stage;
  if (stage == Stage::kGrace) {
    next_ = after(options_.grace_time);
    return;
  }
  next_ = after(options_.terminate_time);
  for (const Child& child : children_) {
    if (!child.running()) continue;
    if (stage == Stage::kTerminating) stragglers_.push_back(child.rank());
    child.signal(stage == Stage::kTerminating ? SIGTERM : SIGKILL);
  }
}

// A rank that was killed has no word in its own failure, and one that stops because of another
// returns the code for a timeout: the cause is looked for in that order.
const Supervisor::Failure* Supervisor::cause() const {
  for (const Failure& f : failures_) {
    if (WIFSIGNALED(f.status)) return &f;
  }
  for (const Failure& f : failures_) {
    if (WEXITSTATUS(f.status) != kTimeout) return &f;
  }
  return failures_.empty() ? nullptr : &failures_.front();
}

int Supervisor::report() const {
  bool any_failed = false;
  for (const Child& child : children_) any_failed = any_failed || failed(child.status());
  if (!any_failed) return 0;
  const Failure* failure = cause();
  std::string line = failure ? how(failure->rank, failure->status)
                             : fmt::format("interrupted by SIG{}", ::sigabbrev_np(interrupted_));
  if (!stragglers_.empty()) {
    line +=
        fmt::format("; {} did not stop within {} and {} terminated", ranks_text(stragglers_),
                    seconds_text(options_.grace_time), stragglers_.size() == 1 ? "was" : "were");
  }
  print(STDERR_FILENO, "orrery: " + line + '\n');
  if (!failure) return kKilledBySignal + interrupted_;
  return WIFSIGNALED(failure->status) ? kTimeout : WEXITSTATUS(failure->status);
}

}  // namespace

int run_local(int ranks, const std::vector<std::string>& argv,
              const std::function<Environment(int rank)>& rank_environment,
              const SpawnOptions& options) {
  if (ranks < 1) {
    throw Error(ExitCode::kUsage, fmt::format("found {} ranks, expected at least 1", ranks));
  }
  Supervisor supervisor(options);
  supervisor.start(ranks, argv, rank_environment);
  return supervisor.wait();
}

}  // namespace orrery
