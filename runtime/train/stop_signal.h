// SIGINT and SIGTERM as a request to stop after the current step.
#pragma once

#include <csignal>

namespace orrery {

// While it lives, the first of the signals only sets the flag; a second one of the same kind ends
// the process as if nobody had asked for it. At most one at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() const;

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace orrery
