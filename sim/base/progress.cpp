#include "sim/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::chrono::seconds kQuietStart{1};
constexpr std::chrono::milliseconds kInterval{100};
constexpr const char* kEraseLine = "\r\x1b[K";

// Negative when it cannot be told.
double seconds_left(double elapsed, int64_t done, int64_t total) {
  if (done <= 0 || total <= 0) return -1;
  const double rate = static_cast<double>(done) / elapsed;
  return static_cast<double>(std::max<int64_t>(0, total - done)) / rate;
}

std::string duration_text(double seconds) {
  const auto s = std::llround(seconds);
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  return std::to_string(s / 3600) + " h " + std::to_string(s / 60 % 60) + " min";
}

std::string terminal_line(const std::string& what, int64_t done, int64_t total, double left) {
  std::string line = what + ": " + with_commas(done);
  if (total > 0) {
    const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
    char text[16];
    std::snprintf(text, sizeof text, " (%.0f%%)", percent);
    line += " of " + with_commas(total) + text;
  }
  if (left >= 0) line += ", " + duration_text(left) + " left";
  return line;
}

std::string json_line(const std::string& what, int64_t done, int64_t total, double left) {
  char eta[32] = "null";
  if (left >= 0) std::snprintf(eta, sizeof eta, "%.1f", left);
  return R"({"event":"progress","what":")" + escaped(what) + R"(","done":)" + std::to_string(done) +
         R"(,"total":)" + std::to_string(total) + R"(,"eta_s":)" + eta + "}\n";
}

// A line that wraps could not be erased.
std::size_t terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

// Progress is a courtesy: a failed write must not fail the run.
void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string what, int64_t total, ProgressMode mode)
    : what_(std::move(what)),
      total_(total),
      mode_(mode),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (shown_ && mode_ == ProgressMode::kAuto) print(kEraseLine);
  shown_ = false;
}

void Progress::update(int64_t done) {
  if (mode_ == ProgressMode::kQuiet || (mode_ == ProgressMode::kAuto && !terminal_)) return;
  const Clock::time_point now = Clock::now();
  if (now - start_ < kQuietStart || now - last_ < kInterval) return;
  last_ = now;
  shown_ = true;
  const double left =
      seconds_left(std::chrono::duration<double>(now - start_).count(), done, total_);
  if (mode_ == ProgressMode::kJson) return print(json_line(what_, done, total_, left));
  std::string line = terminal_line(what_, done, total_, left);
  line.resize(std::min(line.size(), terminal_width() - 1));
  print(kEraseLine + line);
}

}  // namespace orrery
