// The ranks of a job, connected by TCP: the little that they say to each other beside their
// communicators, and the news that one of them has failed.
//
// The connections form a star with rank 0 in its middle. A thread in each process watches them: a
// rank that dies is known to all within a second, whatever the main threads are doing.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/launch/deadline.h"
#include "runtime/launch/environment.h"

namespace orrery {

class Links;
enum class BootstrapOp : uint8_t;

struct BootstrapOptions {
  std::chrono::milliseconds connect_timeout{60'000};
  std::size_t max_bytes = 1 << 20;  // one rank may contribute to one operation
};

class Bootstrap {
 public:
  // Connects; throws Error(kTimeout) when not all ranks are there in time, Error(kUnavailable) when
  // rank 0 cannot listen, InputError when rank 0 refuses this rank.
  explicit Bootstrap(const RankInfo& info, const BootstrapOptions& options = {});
  // Without finish() before, the other ranks take this for a failure.
  ~Bootstrap();
  Bootstrap(const Bootstrap&) = delete;
  Bootstrap& operator=(const Bootstrap&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Collective operations: all ranks call the same ones in the same order, from one thread each;
  // every one is also a barrier. They throw Error(kTimeout) with the reason when the job is
  // aborted, and when the deadline passes, which aborts the job.
  void barrier(Deadline deadline);
  // The bytes of rank 0; the others' are ignored.
  std::string broadcast(std::string_view bytes, Deadline deadline);
  // All ranks' bytes, indexed by rank.
  std::vector<std::string> all_gather(std::string_view bytes, Deadline deadline);
  // The last operation: afterwards ranks may leave without that being a failure.
  void finish(Deadline deadline);

  // Tells all ranks that the job has failed: aborted() is then "rank N: reason" everywhere. Safe
  // from any thread; returns within about a second. Later calls change nothing.
  void abort(const std::string& reason);
  // Why the job has failed: what abort() was told or "rank 3 disconnected". Safe from any thread,
  // and cheap while there is nothing to tell.
  std::optional<std::string> aborted() const;

 private:
  std::vector<std::string> exchange(BootstrapOp op, std::string_view bytes, Deadline deadline);
  std::string gather_and_answer(BootstrapOp op, std::string_view bytes, Deadline deadline);
  std::string contribute(BootstrapOp op, std::string_view bytes, Deadline deadline);
  [[noreturn]] void fail(BootstrapOp op, const std::string& why);
  void throw_if_aborted(BootstrapOp op) const;

  const int rank_, size_;
  const std::size_t max_bytes_;
  uint32_t sequence_ = 0;
  std::unique_ptr<Links> links_;  // null for a single rank
  struct Alone;                   // what aborted() needs then
  std::unique_ptr<Alone> alone_;
};

}  // namespace orrery
