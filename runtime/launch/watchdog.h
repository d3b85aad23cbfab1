// Ends the process when the job has failed or a step takes too long, whatever the main thread is
// doing: it may be waiting for a GPU that waits for a rank that is gone.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/launch/bootstrap.h"
#include "runtime/launch/deadline.h"
#include "runtime/launch/flight_recorder.h"

namespace orrery {

struct WatchdogOptions {
  int rank = 0;
  std::chrono::milliseconds interval{100};  // between checks
  // For everything between a fault and the end of the process, which comes then at the latest.
  std::chrono::milliseconds fault_time{10'000};
  std::string directory = ".";  // of the flight record
};

// A rank that fails by itself and wants to return another code ends its watchdog before it calls
// Bootstrap::abort().
//
// On a fault: makes the flight record, tells the other ranks, writes the record, calls `on_fault`,
// prints one line and ends the process with code 75, without destructors.
class Watchdog {
 public:
  // The reason for a fault, or nothing. Must not block.
  using Source = std::function<std::optional<std::string>()>;

  // `bootstrap` (its abort is a fault) and `recorder` may be null; both outlive the watchdog.
  // `on_fault` gets the reason and is called on the watchdog's thread or that of fault().
  Watchdog(WatchdogOptions options, Bootstrap* bootstrap, const FlightRecorder* recorder,
           FlightReaders readers, std::function<void(const std::string& reason)> on_fault);
  // Stops watching; when a fault is being dealt with, the process ends here.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void add_source(Source source);

  // `what` ("step 12") is to finish before the deadline; several may be under way. Returns the
  // ticket for finish().
  [[nodiscard]] int start(std::string what, Deadline deadline);
  void finish(int ticket);

  // The same as a fault found by the watchdog itself.
  [[noreturn]] void fault(const std::string& reason);

 private:
  struct Task {
    std::string what;
    Deadline started, deadline;
  };

  void run();
  std::optional<std::string> find_fault();
  std::string leave_record(const std::string& reason);  // returns the path, or why there is none

  const WatchdogOptions options_;
  Bootstrap* const bootstrap_;
  const FlightRecorder* const recorder_;
  const FlightReaders readers_;
  const std::function<void(const std::string&)> on_fault_;

  std::mutex mutex_;  // of everything below
  std::condition_variable changed_;
  std::vector<Source> sources_;
  std::map<int, Task> tasks_;
  int next_ticket_ = 0;
  bool stop_ = false, faulted_ = false;
  std::thread thread_;
};

}  // namespace orrery
