// A progress line on stderr: shown only after a second, only on a terminal, at most 10 times a
// second, with the time left.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace orrery {

enum class ProgressMode { kAuto, kQuiet, kJson };  // kJson: one JSON object a line, for wrappers

class Progress {
 public:
  Progress(std::string what, int64_t total, ProgressMode mode);
  ~Progress();  // erases the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done);
  // Erases the line until the next update, so that something else can be printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  int64_t total_;
  ProgressMode mode_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace orrery
