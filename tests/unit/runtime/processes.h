// Child processes of a test, and what they write.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery::testing {

using Clock = std::chrono::steady_clock;

// A fork of the test that runs one function. No assertions in there: it reports by its exit code.
class Process {
 public:
  explicit Process(const std::function<int()>& run) {
    std::fflush(nullptr);  // or the child prints it again
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) return;
    int code = 99;
    try {
      code = run();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "child: %s\n", e.what());
    }
    ::_exit(code);
  }
  ~Process() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Process& operator=(Process&&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  // The status of wait(); fails the test when the process runs on for 30 s.
  int status() {
    int status = 0;
    const auto limit = Clock::now() + std::chrono::seconds(30);
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      REQUIRE(Clock::now() < limit);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = -1;
    return status;
  }
  int exit_code() {
    const int s = status();
    return WIFEXITED(s) ? WEXITSTATUS(s) : -WTERMSIG(s);
  }

 private:
  pid_t pid_ = -1;
};

// What this process and its children write to a descriptor goes to a file while this lives.
class Captured {
 public:
  explicit Captured(int fd) : fd_(fd), saved_(::fcntl(fd, F_DUPFD_CLOEXEC, 10)) {
    std::fflush(nullptr);
    const int file = ::open(path().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    REQUIRE(file >= 0);
    ::dup2(file, fd_);
    ::close(file);
  }
  ~Captured() {
    std::fflush(nullptr);
    ::dup2(saved_, fd_);
    ::close(saved_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

  std::string text() const { return content_of(path()); }

 private:
  std::string path() const { return directory_.file("captured"); }

  TemporaryDirectory directory_;
  int fd_, saved_;
};

// Waits until `holds` does, for at most 20 s.
inline bool eventually(const std::function<bool()>& holds) {
  const auto limit = Clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    if (Clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace orrery::testing
