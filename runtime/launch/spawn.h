// `orrery run --ranks N`: the ranks of a job as child processes on this machine.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "runtime/launch/environment.h"

namespace orrery {

struct SpawnOptions {
  std::string executable = "/proc/self/exe";
  // After a rank has failed (or a SIGINT or SIGTERM came), for the others to stop on their own;
  // then they get SIGTERM, and `terminate_time` later SIGKILL.
  std::chrono::milliseconds grace_time{15'000};
  std::chrono::milliseconds terminate_time{5'000};
  int port = 0;  // of rank 0's bootstrap, on 127.0.0.1; 0: a free one
};

// Runs `ranks` processes of the executable with these arguments (argv[0] included) and waits for
// them. Each gets this process's environment, the ORRERY_* variables that rank_info() reads (with a
// fresh token) and what `rank_environment(rank)` returns; null: nothing more.
//
// Rank 0 writes to this process's stdout and stderr; what the others write to either goes to stderr
// with "[rank N] " before each line. Ranks read nothing from stdin. They die with the thread that
// calls this. SIGINT and SIGTERM are passed on to them; a second one kills them.
//
// Returns 0 when all ranks returned 0. Otherwise one line on stderr says which rank failed and how,
// and the result is 75 when a rank was killed by a signal, else the first exit code other than 75
// (which a rank returns that stops because another has failed), else 75; when no rank had failed
// before a SIGINT or SIGTERM came, 130 or 143.
//
// Throws Error(kUnavailable) when no port is free or a process cannot be started. Changes signal
// handling while it runs: call it from a process that has no other threads.
int run_local(int ranks, const std::vector<std::string>& argv,
              const std::function<Environment(int rank)>& rank_environment = nullptr,
              const SpawnOptions& options = {});

}  // namespace orrery
