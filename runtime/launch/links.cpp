#include "runtime/launch/links.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/launch/signals.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

constexpr std::chrono::milliseconds kLastWords{1000};
constexpr std::size_t kMaxReason = 1000;

}  // namespace

Links::Links(int rank, std::vector<Fd> connections, std::size_t max_payload)
    : rank_(rank), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!wake_.valid()) {
    throw Error(ExitCode::kUnavailable, "bootstrap: eventfd: " + system_message(errno));
  }
  int peer = rank == 0 ? 1 : 0;
  for (Fd& fd : connections) {
    links_.push_back({FrameStream(std::move(fd), std::max(max_payload, kMaxReason)), peer++, {}});
  }
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

Links::~Links() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    stop_at_ = after(kLastWords);
  }
  wake();
  thread_.join();
}

void Links::send(const Frame& frame) {
  {
    const std::lock_guard lock(mutex_);
    for (Link& link : links_) link.stream.queue(frame);
  }
  wake();
}

std::optional<std::vector<Frame>> Links::take_all(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const auto complete = [this] {
    return std::all_of(links_.begin(), links_.end(), [](const Link& l) { return l.frame; });
  };
  changed_.wait_until(lock, deadline, [&] { return is_aborted() || complete(); });
  if (is_aborted() || !complete()) return {};
  std::vector<Frame> frames;
  for (Link& link : links_) {
    frames.push_back(std::move(*link.frame));
    link.frame.reset();
  }
  return frames;
}

std::vector<int> Links::silent_ranks() const {
  const std::lock_guard lock(mutex_);
  std::vector<int> ranks;
  for (const Link& link : links_) {
    if (!link.frame) ranks.push_back(link.peer);
  }
  return ranks;
}

void Links::expect_leaving() {
  const std::lock_guard lock(mutex_);
  leaving_ = true;
}

void Links::flush(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return all_idle(); });
}

void Links::abort(const std::string& reason) {
  std::unique_lock lock(mutex_);
  note_abort(reason, nullptr);
  wake();
  changed_.wait_for(lock, kLastWords, [this] { return all_idle(); });
}

std::string Links::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

void Links::note_abort(const std::string& reason, const Link* from) {
  if (is_aborted()) return;
  reason_ = reason.substr(0, kMaxReason);
  aborted_.store(true, std::memory_order_release);
  Frame frame;
  frame.type = FrameType::kAbort;
  frame.payload = reason_;
  for (Link& link : links_) {
    if (&link != from) link.stream.queue(frame);
  }
  changed_.notify_all();
}

void Links::wake() {
  const uint64_t one = 1;
  // Fails only when a wake-up is pending already.
  (void)!::write(wake_.get(), &one, sizeof one);
}

bool Links::all_idle() const {
  return std::all_of(links_.begin(), links_.end(), [](const Link& l) { return l.stream.idle(); });
}

bool Links::wait_for_events(bool& stopping) {
  std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}};
  int timeout = -1;
  {
    const std::lock_guard lock(mutex_);
    for (const Link& link : links_) {
      if (link.stream.broken()) continue;
      const int events = (stop_ ? 0 : POLLIN) | (link.stream.idle() ? 0 : POLLOUT);
      polled.push_back({link.stream.fd().get(), static_cast<short>(events), 0});
    }
    stopping = stop_;
    if (stop_ && (all_idle() || passed(stop_at_))) return false;
    if (stop_) timeout = poll_milliseconds(stop_at_, kLastWords);
  }
  if (::poll(polled.data(), polled.size(), timeout) > 0 && polled[0].revents != 0) {
    uint64_t count = 0;
    (void)!::read(wake_.get(), &count, sizeof count);
  }
  return true;
}

void Links::run() {
  bool stopping = false;
  while (wait_for_events(stopping)) {
    const std::lock_guard lock(mutex_);
    // A process that leaves sends its last words, but hears no more: its peers may leave too.
    if (!stopping) {
      for (Link& link : links_) serve(link);
    }
    for (Link& link : links_) link.stream.flush();
    changed_.notify_all();
  }
}

void Links::serve(Link& link) {
  if (link.lost) return;
  std::vector<Frame> frames;
  link.stream.receive(frames);
  for (Frame& frame : frames) {
    if (frame.type == FrameType::kAbort) {
      note_abort(frame.payload, &link);
    } else if (link.frame) {
      note_abort(fmt::format("rank {} sent two messages at once to rank {}", link.peer, rank_),
                 nullptr);
    } else {
      // Once rank 0 has answered the last operation, it may hang up at any moment.
      if (frame.type == FrameType::kResult && frame.op == BootstrapOp::kFinish) leaving_ = true;
      link.frame = std::move(frame);
    }
  }
  if (!link.stream.broken()) return;
  link.lost = true;
  if (!leaving_) note_abort(fmt::format("rank {} disconnected", link.peer), &link);
}

}  // namespace orrery
