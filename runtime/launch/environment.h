// Which rank this process is, from the variables that its launcher sets.
#pragma once

#include <map>
#include <string>

namespace orrery {

using Environment = std::map<std::string, std::string>;

Environment process_environment();

struct RankInfo {
  int rank = 0, world_size = 1;
  int local_rank = 0, local_size = 1;  // among the ranks of this machine
  std::string address = "127.0.0.1";   // of rank 0: a name or a number, IPv4 or IPv6
  int port = 0;                        // of rank 0's bootstrap; 0 only when world_size is 1
  std::string token;                   // 32 hexadecimal digits, the same on all ranks
  std::string launcher = "none";       // "orrery run", "Open MPI", "MPICH", "torchrun", "Slurm"
  int listen_fd = -1;  // rank 0: an inherited socket that listens on `port` already; -1: none

  bool single_machine() const { return local_size == world_size; }
};

// The first launcher found, in the order `orrery run`, Open MPI, MPICH (PMI), torchrun, Slurm; a
// single rank when there is none. ORRERY_ADDRESS, ORRERY_PORT and ORRERY_TOKEN override what any
// launcher says.
//
// Where a launcher gives no port, it is derived from its job id, and where nobody gives a token, it
// is derived from the job's identity: that keeps jobs apart, but is no secret; only ORRERY_TOKEN
// (which `orrery run` makes afresh) keeps strangers out.
//
// Throws InputError naming the launcher and the variable that is missing or does not fit.
RankInfo rank_info(const Environment& environment);

// "gpu003" for "gpu[003-010,012],login1": the first host of a Slurm node list. Throws InputError
// when brackets do not match.
std::string first_slurm_node(const std::string& list);

}  // namespace orrery
