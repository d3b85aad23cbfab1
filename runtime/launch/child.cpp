#include "runtime/launch/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr std::size_t kLongestLine = 64 << 10;  // longer ones are split

[[noreturn]] void fail(const std::string& what) {
  throw Error(ExitCode::kUnavailable, what + ": " + system_message(errno));
}

struct Pipe {
  Fd read, write;
};

Pipe make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) fail("cannot make a pipe");
  return {Fd(fds[0]), Fd(fds[1])};
}

// Pointers to the strings and a null, as exec wants them.
std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& s : strings) result.push_back(s.data());
  result.push_back(nullptr);
  return result;
}

// Everything that the child needs between fork and exec, where it must not allocate.
struct Exec {
  const char* executable;
  char* const* argv;
  char* const* environment;
  pid_t parent;
  int null, output, listener, error;  // descriptors; -1: none
  const SupervisorSignals* signals;
};

[[noreturn]] void run_child(const Exec& e) {
  bool ready = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  // The parent may have died before that.
  if (::getppid() != e.parent) ::_exit(static_cast<int>(ExitCode::kInternal));
  ready = ready && ::dup2(e.null, STDIN_FILENO) >= 0;
  if (e.output >= 0) {
    ready = ready && ::dup2(e.output, STDOUT_FILENO) >= 0 && ::dup2(e.output, STDERR_FILENO) >= 0;
  }
  if (e.listener >= 0) ready = ready && ::fcntl(e.listener, F_SETFD, 0) == 0;
  e.signals->restore();
  if (ready) ::execve(e.executable, e.argv, e.environment);
  const int error = errno;
  (void)!::write(e.error, &error, sizeof error);
  ::_exit(static_cast<int>(ExitCode::kUnavailable));
}

}  // namespace

SupervisorSignals::SupervisorSignals() {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  ::sigaddset(&wanted, SIGCHLD);
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction action {};
    ::sigaction(number, nullptr, &action);
    if (action.sa_handler != SIG_IGN) ::sigaddset(&wanted, number);
  }
  fd_ = Fd(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_.valid()) fail("signalfd");
  ::pthread_sigmask(SIG_BLOCK, &wanted, &old_mask_);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &action, &old_child_);  // ignored, children would vanish without a status
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, &old_pipe_);  // a closed stderr must not kill the supervisor
}

SupervisorSignals::~SupervisorSignals() { restore(); }

void SupervisorSignals::restore() const {
  ::sigaction(SIGCHLD, &old_child_, nullptr);
  ::sigaction(SIGPIPE, &old_pipe_, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

Child::Child(int rank, const std::string& executable, const std::vector<std::string>& argv,
             const Environment& environment, int listener, const SupervisorSignals& signals)
    : rank_(rank) {
  std::vector<std::string> arguments = argv, variables;
  for (const auto& [name, value] : environment) variables.push_back(name + '=' + value);
  const std::vector<char*> argument_pointers = pointers(arguments);
  const std::vector<char*> variable_pointers = pointers(variables);
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null.valid()) fail("/dev/null");
  Pipe error = make_pipe();
  Pipe output = rank == 0 ? Pipe{} : make_pipe();
  const Exec exec{executable.c_str(),
                  argument_pointers.data(),
                  variable_pointers.data(),
                  ::getpid(),
                  null.get(),
                  output.write.get(),
                  listener,
                  error.write.get(),
                  &signals};
  const pid_t pid = ::fork();
  if (pid < 0) fail(fmt::format("cannot start rank {}", rank));
  if (pid == 0) run_child(exec);
  pid_.set(pid);
  error.write.reset();
  int reason = 0;
  if (::read(error.read.get(), &reason, sizeof reason) == sizeof reason) {
    ::waitpid(pid, &status_, 0);
    pid_.set(-1);
    throw Error(ExitCode::kUnavailable, fmt::format("cannot start rank {} ({}): {}", rank,
                                                    executable, system_message(reason)));
  }
  output_ = std::move(output.read);
  if (output_.valid()) ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
}

Child::~Child() {
  if (!running()) return;
  signal(SIGKILL);
  while (::waitpid(pid_.get(), &status_, 0) < 0 && errno == EINTR) {
  }
}

void Child::signal(int number) const {
  if (running()) ::kill(pid_.get(), number);
}

bool Child::reap() {
  if (!running() || ::waitpid(pid_.get(), &status_, WNOHANG) != pid_.get()) return false;
  pid_.set(-1);
  // Not until the end of the pipe: a process that the rank started may hold it open.
  pump();
  print_lines(true);
  output_.reset();
  return true;
}

void Child::pump() {
  std::array<char, kLongestLine> block;
  while (output_.valid()) {
    const ssize_t n = ::read(output_.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    text_.append(block.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    print_lines(n <= 0);
    if (n <= 0) output_.reset();
  }
}

void Child::print_lines(bool all) {
  const std::string prefix = fmt::format("[rank {}] ", rank_);
  std::string lines;
  std::size_t at = 0;
  while (at < text_.size()) {
    const std::size_t newline = text_.find('\n', at);
    std::size_t end = newline == std::string::npos ? text_.size() : newline;
    if (end - at > kLongestLine) end = at + kLongestLine;
    if (newline == std::string::npos && end - at < kLongestLine && !all) break;
    lines.append(prefix).append(text_, at, end - at).append("\n");
    at = end == newline ? end + 1 : end;
  }
  text_.erase(0, at);
  print(STDERR_FILENO, lines);
}

void print(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      ::poll(&p, 1, 1000);
    } else if (errno != EINTR) {
      return;
    }
  }
}

}  // namespace orrery
