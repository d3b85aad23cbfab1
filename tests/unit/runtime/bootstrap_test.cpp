#include "runtime/launch/bootstrap.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "runtime/launch/frame.h"
#include "runtime/launch/handshake.h"
#include "runtime/launch/token.h"
#include "tests/catch.h"
#include "tests/unit/runtime/processes.h"

namespace orrery {
namespace {

using namespace std::chrono_literals;
using testing::Clock;
using testing::failure_of;
using testing::Process;

// Ranks of this machine on a free port. Rank 0 must be given to exactly one Bootstrap.
class ThreadJob {
 public:
  explicit ThreadJob(int size) : size_(size), token_(random_token()) {
    const Fd listener = listen_on("127.0.0.1", 0);
    port_ = port_of(listener);
    listen_fd_ = ::dup(listener.get());
  }
  RankInfo info(int rank) const {
    RankInfo info;
    info.rank = info.local_rank = rank;
    info.world_size = info.local_size = size_;
    info.port = port_;
    info.token = token_;
    info.listen_fd = rank == 0 ? listen_fd_ : -1;
    return info;
  }
  int size() const { return size_; }
  void close_listener() const { ::close(listen_fd_); }

 private:
  int size_;
  std::string token_;
  int port_ = 0, listen_fd_ = -1;
};

// Runs a function as every rank, each in a thread; returns what each threw, "" for nothing.
std::vector<std::string> run_ranks(const ThreadJob& job, const std::function<void(Bootstrap&)>& run,
                                   BootstrapOptions options = {}) {
  std::vector<std::string> errors(static_cast<std::size_t>(job.size()));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < job.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        Bootstrap bootstrap(job.info(rank), options);
        run(bootstrap);
      } catch (const std::exception& e) {
        errors[static_cast<std::size_t>(rank)] = e.what();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  return errors;
}

TEST_CASE("collective operations of threads", "[runtime]") {
  for (const int size : {1, 2, 5}) {
    CAPTURE(size);
    const ThreadJob job(size);
    std::atomic<int> wrong{0};
    const auto errors = run_ranks(job, [&](Bootstrap& b) {
      std::string mine(static_cast<std::size_t>(b.rank()) * 1000,
                       static_cast<char>('a' + b.rank()));
      for (int round = 0; round < 20; ++round) {
        const auto all = b.all_gather(mine, after(20s));
        bool right = all.size() == static_cast<std::size_t>(size);
        for (int r = 0; right && r < size; ++r) {
          right = all[static_cast<std::size_t>(r)] ==
                  std::string(static_cast<std::size_t>(r) * 1000, static_cast<char>('a' + r));
        }
        const std::string text = "from 0 in round " + std::to_string(round);
        right = right && b.broadcast(b.rank() == 0 ? text : "nonsense", after(20s)) == text;
        b.barrier(after(20s));
        if (!right) ++wrong;
      }
      b.finish(after(20s));
      // Others may have left by now, and that is no failure.
      std::this_thread::sleep_for(std::chrono::milliseconds(20 * b.rank()));
      if (b.aborted()) ++wrong;
    });
    CHECK(wrong == 0);
    for (const std::string& e : errors) CHECK(e.empty());
    if (size == 1) job.close_listener();
  }
}

TEST_CASE("a barrier holds until the last rank is there", "[runtime]") {
  std::atomic<int> arrived{0}, early{0};
  const auto errors = run_ranks(ThreadJob(4), [&](Bootstrap& b) {
    std::this_thread::sleep_for(std::chrono::milliseconds(40 * b.rank()));
    ++arrived;
    b.barrier(after(20s));
    if (arrived != 4) ++early;
    b.finish(after(20s));
  });
  CHECK(early == 0);
  for (const std::string& e : errors) CHECK(e.empty());
}

TEST_CASE("large contributions arrive, larger ones than allowed are an error", "[runtime]") {
  BootstrapOptions options;
  options.max_bytes = 3 << 20;
  std::atomic<int> wrong{0};
  auto errors = run_ranks(
      ThreadJob(3),
      [&](Bootstrap& b) {
        const auto all =
            b.all_gather(std::string(3 << 20, static_cast<char>('0' + b.rank())), after(20s));
        for (std::size_t r = 0; r < 3; ++r) {
          if (all[r] != std::string(3 << 20, static_cast<char>('0' + r))) ++wrong;
        }
        b.finish(after(20s));
      },
      options);
  CHECK(wrong == 0);
  for (const std::string& e : errors) CHECK(e.empty());

  options.max_bytes = 10;
  errors = run_ranks(
      ThreadJob(2),
      [&](Bootstrap& b) { b.all_gather(b.rank() == 1 ? "12345678901" : "", after(20s)); }, options);
  CHECK(errors[1] == "bootstrap all_gather: found 11 bytes, expected at most 10");
  CHECK(errors[0] == "bootstrap all_gather: rank 1 disconnected");
}

TEST_CASE("an abort reaches all ranks, with the first reason", "[runtime]") {
  for (const int culprit : {0, 2}) {
    CAPTURE(culprit);
    const auto errors = run_ranks(ThreadJob(4), [&](Bootstrap& b) {
      b.barrier(after(20s));
      if (b.rank() == culprit) {
        b.abort("out of memory");
        b.abort("something else");
      }
      b.barrier(after(20s));
    });
    const std::string expected =
        "bootstrap barrier: rank " + std::to_string(culprit) + ": out of memory";
    for (const std::string& e : errors) CHECK(e == expected);
  }
}

TEST_CASE("a single rank can be aborted too", "[runtime]") {
  Bootstrap b(RankInfo{});
  CHECK_FALSE(b.aborted());
  b.abort("no reason");
  CHECK(b.aborted() == "rank 0: no reason");
  CHECK(failure_of([&] { b.barrier(after(1s)); }).code == ExitCode::kTimeout);
}

TEST_CASE("a deadline names the ranks that are missing", "[runtime]") {
  const auto errors = run_ranks(ThreadJob(4), [&](Bootstrap& b) {
    if (b.rank() == 1 || b.rank() == 3) {
      testing::eventually([&] { return b.aborted().has_value(); });
      b.barrier(after(1s));
    }
    b.barrier(after(b.rank() == 0 ? 300ms : 20s));
  });
  CHECK(errors[0] == "rank 0: bootstrap barrier: ranks 1 and 3 did not take part in time");
  for (std::size_t r = 1; r < 4; ++r) CHECK(errors[r] == "bootstrap barrier: " + errors[0]);
}

TEST_CASE("different operations are a failure, not a hang", "[runtime]") {
  const auto errors = run_ranks(ThreadJob(2), [&](Bootstrap& b) {
    if (b.rank() == 0) b.barrier(after(20s));
    b.broadcast("", after(20s));
  });
  CHECK(errors[0] ==
        "rank 0: bootstrap barrier: rank 0's operation 1 is barrier, but rank 1's is number 1, "
        "broadcast");
  CHECK(errors[1] == "bootstrap broadcast: " + errors[0]);
}

TEST_CASE("rank 0 waits no longer than its deadline for ranks to connect", "[runtime]") {
  const ThreadJob job(4);
  std::string one;
  std::thread other([&] {
    Bootstrap b(job.info(2));
    one = failure_of([&] { b.barrier(after(20s)); }).message;
  });
  BootstrapOptions options;
  options.connect_timeout = 500ms;
  const auto start = Clock::now();
  const auto failure = failure_of([&] { Bootstrap b(job.info(0), options); });
  CHECK(Clock::now() - start < 5s);
  other.join();
  CHECK(failure.code == ExitCode::kTimeout);
  CHECK(failure.message ==
        "ranks 1 and 3 did not connect to rank 0 in time (2 of 4 ranks are there)");
  CHECK(one == "bootstrap barrier: " + failure.message);
}

TEST_CASE("a rank gives up when rank 0 is not there", "[runtime]") {
  const ThreadJob job(2);
  job.close_listener();
  BootstrapOptions options;
  options.connect_timeout = 300ms;
  const auto failure = failure_of([&] { Bootstrap b(job.info(1), options); });
  CHECK(failure.code == ExitCode::kTimeout);
  CHECK(failure.message.find("rank 1 could not connect to rank 0 at 127.0.0.1 port ") == 0);
  CHECK(failure.message.find("Connection refused") != std::string::npos);
}

TEST_CASE("strangers are refused and the job goes on", "[runtime]") {
  const ThreadJob job(2);
  std::string root_error;
  std::thread root([&] {
    root_error = failure_of([&] {
                   Bootstrap b(job.info(0));
                   b.finish(after(20s));
                 }).message;
  });
  const auto refusal = [&](const std::function<void(RankInfo&)>& change) {
    RankInfo info = job.info(1);
    change(info);
    const auto failure = failure_of([&] { Bootstrap b(info); });
    CHECK(failure.code == ExitCode::kBadInput);
    return failure.message;
  };
  CHECK(refusal([](RankInfo& i) { i.token = random_token(); }).find("the token differs") !=
        std::string::npos);
  CHECK(refusal([](RankInfo& i) { i.world_size = 3; }).find("found world size 3, expected 2") !=
        std::string::npos);
  CHECK(refusal([](RankInfo& i) {
          i.rank = 7;
        }).find("refused rank 7: found rank 7, expected 1 to 1") != std::string::npos);

  // Neither silence nor another protocol disturbs it.
  std::string error;
  const Fd silent = connect_once("127.0.0.1", job.info(1).port, after(5s), error);
  const Fd other = connect_once("127.0.0.1", job.info(1).port, after(5s), error);
  REQUIRE(silent.valid());
  REQUIRE(write_all(other, "GET / HTTP/1.1\r\n\r\n", after(5s)));
  std::string nothing;
  CHECK_FALSE(read_exactly(other, 1, nothing, after(5s)));

  Bootstrap right(job.info(1));
  right.finish(after(20s));
  root.join();
  CHECK(root_error.empty());
}

TEST_CASE("a second process of the same rank is refused", "[runtime]") {
  const ThreadJob job(3);
  std::thread root([&] { failure_of([&] { Bootstrap b(job.info(0)); }); });
  Bootstrap first(job.info(1));
  const auto failure = failure_of([&] { Bootstrap b(job.info(1)); });
  CHECK(failure.code == ExitCode::kBadInput);
  CHECK(failure.message.find("another process is rank 1 already") != std::string::npos);
  Bootstrap second(job.info(2));
  root.join();
}

TEST_CASE("a killed rank is known to all others within two seconds", "[runtime]") {
  for (const int victim : {0, 3}) {
    CAPTURE(victim);
    const ThreadJob job(4);
    const testing::TemporaryDirectory directory;
    std::vector<Process> ranks;
    for (int rank = 0; rank < 4; ++rank) {
      ranks.emplace_back([&, rank] {
        Bootstrap b(job.info(rank));
        b.barrier(after(20s));
        testing::write(directory.file("ready" + std::to_string(rank)), "");
        // The main thread is busy elsewhere: the news must come by itself.
        if (!testing::eventually([&] { return b.aborted().has_value(); })) return 1;
        testing::write(directory.file("reason" + std::to_string(rank)), *b.aborted());
        return 0;
      });
    }
    job.close_listener();
    REQUIRE(testing::eventually([&] { return directory.entries() == 4; }));
    ranks[static_cast<std::size_t>(victim)].signal(SIGKILL);
    const auto start = Clock::now();
    for (int rank = 0; rank < 4; ++rank) {
      CHECK(ranks[static_cast<std::size_t>(rank)].exit_code() == (rank == victim ? -SIGKILL : 0));
      if (rank == victim) continue;
      CHECK(testing::content_of(directory.file("reason" + std::to_string(rank))) ==
            "rank " + std::to_string(victim) + " disconnected");
    }
    CHECK(Clock::now() - start < 2s);
  }
}

TEST_CASE("an abort right before the end of a process is still heard", "[runtime]") {
  const ThreadJob job(3);
  std::vector<Process> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.emplace_back([&, rank] {
      Bootstrap b(job.info(rank));
      // The news may come while the others are still in here.
      failure_of([&] { b.barrier(after(20s)); });
      if (rank == 1) {
        b.abort("step 3 is not finished");
        ::_exit(7);
      }
      if (!testing::eventually([&] { return b.aborted().has_value(); })) return 1;
      return b.aborted() == "rank 1: step 3 is not finished" ? 0 : 2;
    });
  }
  job.close_listener();
  CHECK(ranks[0].exit_code() == 0);
  CHECK(ranks[1].exit_code() == 7);
  CHECK(ranks[2].exit_code() == 0);
}

TEST_CASE("a rank that fails while others still connect is heard", "[runtime]") {
  for (const bool has_reason : {true, false}) {
    const ThreadJob job(4);
    std::string errors[3];
    std::atomic<bool> connected{false};
    std::thread root([&] { errors[0] = failure_of([&] { Bootstrap b(job.info(0)); }).message; });
    std::thread waiting([&] {
      Bootstrap b(job.info(2));
      connected = true;
      errors[2] = failure_of([&] { b.barrier(after(20s)); }).message;
    });
    {
      Bootstrap b(job.info(1));
      // Rank 3 never comes; rank 2 must have come before rank 0 gives up.
      testing::eventually([&] { return connected.load(); });
      if (has_reason) b.abort("no GPU");
    }
    root.join();
    waiting.join();
    CHECK(errors[0] == (has_reason ? "rank 1: no GPU" : "rank 1 disconnected"));
    CHECK(errors[2] == "bootstrap barrier: " + errors[0]);
  }
}

TEST_CASE("frames come out whole whatever the pieces, and oversized ones break the connection",
          "[runtime]") {
  int fds[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  const Fd raw(fds[0]);
  FrameStream stream(Fd(fds[1]), 1000);
  Frame frame;
  frame.type = FrameType::kResult;
  frame.op = BootstrapOp::kAllGather;
  frame.sequence = 0x01020304;
  frame.payload = std::string(1000, 'x');
  stream.queue(frame);
  CHECK_FALSE(stream.idle());
  stream.flush();
  CHECK(stream.idle());
  std::string bytes;
  REQUIRE(read_exactly(raw, 16 + 1000, bytes, after(1s)));
  CHECK(bytes.substr(0, 8) == std::string("\x02\x02\0\0\x04\x03\x02\x01", 8));

  std::vector<Frame> frames;
  const std::string twice = bytes + bytes;
  for (std::size_t i = 0; i < twice.size(); i += 700) {
    REQUIRE(write_all(raw, twice.substr(i, 700), after(1s)));
    stream.receive(frames);
  }
  REQUIRE(frames.size() == 2);
  for (const Frame& f : frames) {
    CHECK(f.type == frame.type);
    CHECK(f.op == frame.op);
    CHECK(f.sequence == frame.sequence);
    CHECK(f.payload == frame.payload);
  }
  std::string oversized = bytes.substr(0, 8);
  append_number(oversized, 1001, 8);
  REQUIRE(write_all(raw, oversized, after(1s)));
  CHECK_FALSE(stream.broken());
  stream.receive(frames);
  CHECK(stream.broken());
  CHECK(frames.size() == 2);
}

TEST_CASE("lists of ranks stay short", "[runtime]") {
  CHECK(ranks_text({3}) == "rank 3");
  CHECK(ranks_text({1, 3, 7}) == "ranks 1, 3 and 7");
  CHECK(ranks_text({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
}

}  // namespace
}  // namespace orrery
