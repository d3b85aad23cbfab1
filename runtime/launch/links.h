// The connections of one process and the thread that serves them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/launch/frame.h"

namespace orrery {

// Rank 0 has a link to every other rank (rank r is link r - 1), the others one to rank 0. Each link
// has room for one frame that nobody has taken yet: an operation ends before the next begins.
class Links {
 public:
  Links(int rank, std::vector<Fd> connections, std::size_t max_payload);
  ~Links();  // sends what is queued, for at most a second
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  // Queues the frame for every link.
  void send(const Frame& frame);
  // The next frame of every link, once all are there; nothing when the deadline passes or the job
  // is aborted first.
  std::optional<std::vector<Frame>> take_all(Deadline deadline);
  // The links whose frame is not there yet.
  std::vector<int> silent_ranks() const;

  // From now on peers may leave.
  void expect_leaving();
  // Waits until everything queued is sent.
  void flush(Deadline deadline);

  // The first reason counts. Tells the peers, and waits up to a second until they have been sent
  // it.
  void abort(const std::string& reason);
  bool is_aborted() const { return aborted_.load(std::memory_order_acquire); }
  std::string reason() const;

 private:
  struct Link {
    FrameStream stream;
    int peer;
    std::optional<Frame> frame;
    bool lost = false;  // its disconnection has been dealt with
  };

  void run();
  bool wait_for_events(bool& stopping);  // false: stop now
  void serve(Link& link);
  void note_abort(const std::string& reason, const Link* from);
  void wake();
  bool all_idle() const;

  const int rank_;
  Fd wake_;
  mutable std::mutex mutex_;  // of everything below
  std::condition_variable changed_;
  std::vector<Link> links_;
  std::string reason_;
  std::atomic<bool> aborted_{false};
  bool leaving_ = false, stop_ = false;
  Deadline stop_at_{};
  std::thread thread_;
};

}  // namespace orrery
