#include "runtime/launch/handshake.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <limits>
#include <optional>
#include <thread>

#include "runtime/launch/frame.h"
#include "runtime/launch/token.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::string_view kMagic = "ORRY";
constexpr std::size_t kHelloBytes = 4 + 1 + kTokenDigits + 4 + 4;
constexpr std::size_t kMaxPending = 128;
constexpr std::chrono::milliseconds kHelloTime{5000};   // for a stranger to say who it is
constexpr std::chrono::milliseconds kAnswerTime{1000};  // for rank 0 to send a few bytes
constexpr std::chrono::milliseconds kFirstPause{10}, kLongestPause{500};

std::string hello(const RankInfo& info) {
  std::string bytes(kMagic);
  append_number(bytes, kBootstrapVersion, 1);
  bytes += info.token;
  append_number(bytes, static_cast<uint64_t>(info.rank), 4);
  append_number(bytes, static_cast<uint64_t>(info.world_size), 4);
  return bytes;
}

void answer(const Fd& fd, const std::string& refusal) {
  std::string bytes;
  append_number(bytes, refusal.empty() ? 0 : 1, 1);
  append_number(bytes, refusal.size(), 1);
  (void)write_all(fd, bytes + refusal, after(kAnswerTime));
}

// Why a rank that has hung up did so.
std::string last_words(int rank, Fd fd) {
  FrameStream stream(std::move(fd), std::numeric_limits<std::size_t>::max());
  std::vector<Frame> frames;
  stream.receive(frames);
  for (const Frame& frame : frames) {
    if (frame.type == FrameType::kAbort) return frame.payload;
  }
  return fmt::format("rank {} disconnected", rank);
}

class Acceptor {
 public:
  Acceptor(const RankInfo& info, Fd listener)
      : info_(info),
        listener_(std::move(listener)),
        ranks_(static_cast<std::size_t>(info.world_size - 1)) {}

  std::vector<Fd> accept_all(Deadline deadline);

 private:
  struct Pending {
    Fd fd;
    Deadline deadline;
    std::string bytes;
  };

  void wait(Deadline deadline);
  void take_connections();
  // False when this connection needs no more attention.
  bool read_hello(Pending& pending);
  std::string refusal(std::string_view bytes) const;  // empty: welcome
  [[noreturn]] void fail(const std::string& reason);

  const RankInfo& info_;
  Fd listener_;
  std::vector<Fd> ranks_;
  std::vector<Pending> pending_;
  std::size_t connected_ = 0;
};

std::vector<Fd> Acceptor::accept_all(Deadline deadline) {
  while (connected_ < ranks_.size()) {
    if (passed(deadline)) {
      std::vector<int> missing;
      for (std::size_t i = 0; i < ranks_.size(); ++i) {
        if (!ranks_[i].valid()) missing.push_back(static_cast<int>(i) + 1);
      }
      fail(fmt::format("{} did not connect to rank 0 in time ({} of {} ranks are there)",
                       ranks_text(missing), connected_ + 1, info_.world_size));
    }
    wait(deadline);
    take_connections();
    std::erase_if(pending_, [this](Pending& p) { return !read_hello(p); });
  }
  return std::move(ranks_);
}

void Acceptor::wait(Deadline deadline) {
  std::vector<pollfd> polled = {{listener_.get(), POLLIN, 0}};
  for (const Pending& p : pending_) polled.push_back({p.fd.get(), POLLIN, 0});
  const std::size_t first_rank = polled.size();
  std::vector<int> rank_of;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (!ranks_[i].valid()) continue;
    // Not POLLIN: what a rank sends already stays for later.
    polled.push_back({ranks_[i].get(), POLLRDHUP, 0});
    rank_of.push_back(static_cast<int>(i) + 1);
  }
  constexpr std::chrono::milliseconds kRound{200};  // strangers' deadlines are looked at then
  if (::poll(polled.data(), polled.size(), poll_milliseconds(deadline, kRound)) <= 0) return;
  for (std::size_t i = first_rank; i < polled.size(); ++i) {
    if (polled[i].revents == 0) continue;
    const int rank = rank_of[i - first_rank];
    fail(last_words(rank, std::move(ranks_[static_cast<std::size_t>(rank - 1)])));
  }
}

void Acceptor::take_connections() {
  for (Fd fd = accept_one(listener_); fd.valid(); fd = accept_one(listener_)) {
    if (pending_.size() < kMaxPending) pending_.push_back({std::move(fd), after(kHelloTime), ""});
  }
}

bool Acceptor::read_hello(Pending& pending) {
  char block[kHelloBytes];
  const std::size_t left = kHelloBytes - pending.bytes.size();
  const ssize_t n = ::recv(pending.fd.get(), block, left, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return !passed(pending.deadline);
  if (n <= 0) return false;
  pending.bytes.append(block, static_cast<std::size_t>(n));
  // Whatever speaks another protocol is told nothing.
  if (!pending.bytes.starts_with(kMagic.substr(0, pending.bytes.size()))) return false;
  if (pending.bytes.size() < kHelloBytes) return true;
  const std::string problem = refusal(pending.bytes);
  answer(pending.fd, problem);
  if (!problem.empty()) return false;
  const auto rank = static_cast<std::size_t>(read_number(pending.bytes, 5 + kTokenDigits, 4));
  ranks_[rank - 1] = std::move(pending.fd);
  ++connected_;
  return false;
}

std::string Acceptor::refusal(std::string_view bytes) const {
  const uint64_t version = read_number(bytes, 4, 1);
  if (version != kBootstrapVersion) {
    return fmt::format("found protocol version {}, expected {}", version, kBootstrapVersion);
  }
  if (!constant_time_equal(bytes.substr(5, kTokenDigits), info_.token)) {
    return "the token differs from rank 0's";
  }
  const uint64_t rank = read_number(bytes, 5 + kTokenDigits, 4);
  const uint64_t size = read_number(bytes, 9 + kTokenDigits, 4);
  if (size != static_cast<uint64_t>(info_.world_size)) {
    return fmt::format("found world size {}, expected {}", size, info_.world_size);
  }
  if (rank == 0 || rank >= size)
    return fmt::format("found rank {}, expected 1 to {}", rank, size - 1);
  if (ranks_[rank - 1].valid()) return fmt::format("another process is rank {} already", rank);
  return "";
}

void Acceptor::fail(const std::string& reason) {
  Frame frame;
  frame.type = FrameType::kAbort;
  frame.payload = reason;
  for (Fd& fd : ranks_) {
    if (!fd.valid()) continue;
    FrameStream stream(std::move(fd), 0);
    stream.queue(frame);
    stream.flush();
  }
  throw Error(ExitCode::kTimeout, reason);
}

// The answer of rank 0 on a fresh connection: "" when accepted, the refusal, or nothing when it
// hung up.
std::optional<std::string> exchange_hello(const Fd& fd, const RankInfo& info, Deadline deadline) {
  std::string head, text;
  if (!write_all(fd, hello(info), deadline) || !read_exactly(fd, 2, head, deadline)) return {};
  if (!read_exactly(fd, static_cast<unsigned char>(head[1]), text, deadline)) return {};
  if (head[0] == 0) return "";
  return text.empty() ? "no reason given" : text;
}

}  // namespace

std::vector<Fd> accept_ranks(const RankInfo& info, Deadline deadline) {
  Fd listener = adopt_listener(info.listen_fd);
  if (!listener.valid()) listener = listen_on(info.address, info.port, !info.single_machine());
  return Acceptor(info, std::move(listener)).accept_all(deadline);
}

Fd connect_to_root(const RankInfo& info, Deadline deadline) {
  std::string error;
  std::chrono::milliseconds pause = kFirstPause;
  const std::string where = fmt::format("rank 0 at {} port {}", info.address, info.port);
  while (true) {
    Fd fd = connect_once(info.address, info.port, deadline, error);
    if (fd.valid()) {
      const auto refusal = exchange_hello(fd, info, deadline);
      if (refusal && refusal->empty()) return fd;
      if (refusal) {
        throw InputError(
            {{"", fmt::format("{} refused rank {}: {}", where, info.rank, escaped(*refusal))}});
      }
      error = "the connection was closed";
    }
    if (passed(deadline)) break;
    std::this_thread::sleep_for(
        std::min<std::chrono::nanoseconds>(pause, deadline - std::chrono::steady_clock::now()));
    pause = std::min(2 * pause, kLongestPause);
  }
  throw Error(ExitCode::kTimeout,
              fmt::format("rank {} could not connect to {} in time: {}", info.rank, where, error));
}

std::string ranks_text(const std::vector<int>& ranks) {
  constexpr std::size_t kShown = 8;
  if (ranks.empty()) return "no rank";
  std::vector<std::string> words;
  for (std::size_t i = 0; i < ranks.size() && i < kShown; ++i) {
    words.push_back(std::to_string(ranks[i]));
  }
  if (ranks.size() > kShown) words.push_back(std::to_string(ranks.size() - kShown) + " more");
  const std::vector<std::string_view> views(words.begin(), words.end());
  return (ranks.size() == 1 ? "rank " : "ranks ") + join_words(views);
}

}  // namespace orrery
