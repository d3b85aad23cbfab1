// One rank of `orrery run` as a child process.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

#include "runtime/launch/environment.h"
#include "runtime/launch/socket.h"

namespace orrery {

// While it lives, the signals that a supervisor waits for are blocked and can be read from fd().
// Signals that were ignored before stay ignored (a job in the background, nohup).
class SupervisorSignals {
 public:
  SupervisorSignals();
  ~SupervisorSignals();
  SupervisorSignals(const SupervisorSignals&) = delete;
  SupervisorSignals& operator=(const SupervisorSignals&) = delete;

  const Fd& fd() const { return fd_; }
  // In a child before exec, which keeps masks and ignored signals. Async-signal-safe.
  void restore() const;

 private:
  sigset_t old_mask_{};
  struct sigaction old_pipe_ {};
  struct sigaction old_child_ {};
  Fd fd_;
};

class Child {
 public:
  // Starts the process; `listener` stays open in it (-1: none). Throws Error(kUnavailable).
  Child(int rank, const std::string& executable, const std::vector<std::string>& argv,
        const Environment& environment, int listener, const SupervisorSignals& signals);
  Child(Child&&) noexcept = default;
  Child& operator=(Child&&) = delete;
  ~Child();  // kills the process when it still runs

  int rank() const { return rank_; }
  bool running() const { return pid_.get() > 0; }
  int status() const { return status_; }  // of wait(), once it does not run
  void signal(int number) const;
  bool reap();  // true when the process has just been found to have ended

  const Fd& output() const { return output_; }  // invalid for rank 0 and after its end
  // Copies what there is to stderr, each line with its prefix.
  void pump();

 private:
  // Moves like a unique_ptr: a child that was moved from kills nothing.
  class Pid {
   public:
    Pid() = default;
    Pid(Pid&& other) noexcept : pid_(other.pid_) { other.pid_ = -1; }
    pid_t get() const { return pid_; }
    void set(pid_t pid) { pid_ = pid; }

   private:
    pid_t pid_ = -1;
  };

  void print_lines(bool all);

  int rank_;
  Pid pid_;
  int status_ = 0;
  Fd output_;
  std::string text_;  // not printed yet
};

// All of it, or as much as the descriptor takes.
void print(int fd, std::string_view text);

}  // namespace orrery
