// How ranks find rank 0 and prove that they belong to its job.
//
// A rank sends a hello of fixed size: "ORRY", version, token (32 bytes), rank (4), world size (4).
// Rank 0 answers with a status byte (0: accepted), the length of a text, and the text.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "runtime/launch/environment.h"
#include "runtime/launch/socket.h"

namespace orrery {

constexpr int kBootstrapVersion = 1;

// Rank 0: waits until every other rank has connected; the connection of rank r is at r - 1. Refuses
// strangers and goes on waiting. Throws Error(kTimeout) that names the missing ranks or the one
// that disconnected; those that are connected are told.
std::vector<Fd> accept_ranks(const RankInfo& info, Deadline deadline);

// Any other rank: tries until rank 0 answers. Throws Error(kTimeout) when the deadline passes and
// InputError when rank 0 refuses (wrong token, wrong world size, rank taken).
Fd connect_to_root(const RankInfo& info, Deadline deadline);

// "rank 3", "ranks 1, 3 and 7", "ranks 1, 2, 3 and 5 more".
std::string ranks_text(const std::vector<int>& ranks);

}  // namespace orrery
