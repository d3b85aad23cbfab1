#include "runtime/launch/watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <system_error>

#include "runtime/launch/child.h"
#include "runtime/launch/flight_report.h"
#include "runtime/launch/signals.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

[[noreturn]] void end_process() { ::_exit(static_cast<int>(ExitCode::kTimeout)); }

// What is done about a fault may hang itself: in a driver that waits for the GPU, in a file system.
void end_process_after(std::chrono::milliseconds time) {
  const SignalsBlocked blocked;
  try {
    std::thread([time] {
      std::this_thread::sleep_for(time);
      end_process();
    }).detach();
  } catch (const std::system_error&) {
    // Without threads left there is only the ordinary way.
  }
}

}  // namespace

Watchdog::Watchdog(WatchdogOptions options, Bootstrap* bootstrap, const FlightRecorder* recorder,
                   FlightReaders readers, std::function<void(const std::string& reason)> on_fault)
    : options_(std::move(options)),
      bootstrap_(bootstrap),
      recorder_(recorder),
      readers_(std::move(readers)),
      on_fault_(std::move(on_fault)) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
  std::unique_lock lock(mutex_);
  stop_ = true;
  changed_.notify_all();
  // Another thread is about to end the process.
  while (faulted_) changed_.wait(lock);
  lock.unlock();
  thread_.join();
}

void Watchdog::add_source(Source source) {
  const std::lock_guard lock(mutex_);
  sources_.push_back(std::move(source));
}

int Watchdog::start(std::string what, Deadline deadline) {
  const std::lock_guard lock(mutex_);
  tasks_[next_ticket_] = {std::move(what), std::chrono::steady_clock::now(), deadline};
  return next_ticket_++;
}

void Watchdog::finish(int ticket) {
  const std::lock_guard lock(mutex_);
  tasks_.erase(ticket);
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (const auto reason = find_fault()) {
      lock.unlock();
      fault(*reason);
    }
    changed_.wait_for(lock, options_.interval);
  }
}

std::optional<std::string> Watchdog::find_fault() {
  if (bootstrap_) {
    if (auto reason = bootstrap_->aborted()) return reason;
  }
  for (const Source& source : sources_) {
    if (auto reason = source()) return reason;
  }
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [ticket, task] : tasks_) {
    if (now < task.deadline) continue;
    const double seconds = std::chrono::duration<double>(now - task.started).count();
    return fmt::format("{} is not finished after {:.1f} s", task.what, seconds);
  }
  return {};
}

void Watchdog::fault(const std::string& reason) {
  {
    std::unique_lock lock(mutex_);
    while (faulted_) changed_.wait(lock);
    faulted_ = true;
  }
  end_process_after(options_.fault_time);
  const std::string record = leave_record(reason);
  print(STDERR_FILENO, fmt::format("orrery: rank {} stops: {}; {}\n", options_.rank,
                                   escaped(reason), escaped(record)));
  try {
    if (on_fault_) on_fault_(reason);
  } catch (const std::exception& e) {
    print(STDERR_FILENO, fmt::format("orrery: rank {} could not clean up: {}\n", options_.rank,
                                     escaped(e.what())));
  }
  std::fflush(nullptr);
  end_process();
}

std::string Watchdog::leave_record(const std::string& reason) {
  std::string problem = "no flight record was kept";
  FlightReport report;
  bool made = false;
  try {
    if (recorder_) {
      report = make_flight_report(*recorder_, readers_, options_.rank, reason);
      made = true;
    }
  } catch (const std::exception& e) {
    problem = fmt::format("the flight record failed: {}", e.what());
  }
  // Before anything slow: the others' records are best made while nobody has left.
  if (bootstrap_) bootstrap_->abort(reason);
  try {
    if (made) {
      return "flight record: " + write_flight_report(report, options_.directory, options_.rank);
    }
  } catch (const std::exception& e) {
    problem = e.what();
  }
  return problem;
}

}  // namespace orrery
