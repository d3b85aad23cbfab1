#include "runtime/launch/watchdog.h"

#include <thread>

#include "runtime/launch/socket.h"
#include "runtime/launch/token.h"
#include "tests/catch.h"
#include "tests/unit/runtime/processes.h"

namespace orrery {
namespace {

using namespace std::chrono_literals;
using testing::Captured;
using testing::Clock;
using testing::content_of;
using testing::Process;
using testing::TemporaryDirectory;

WatchdogOptions quick(const TemporaryDirectory& directory) {
  WatchdogOptions options;
  options.rank = 3;
  options.interval = 10ms;
  options.directory = directory.path();
  return options;
}

struct OneLaunch {
  OneLaunch() { recorder.record(0, {}); }
  FlightRecorder recorder{{"compute"}, 4};
};

TEST_CASE("steps in time are no fault", "[runtime]") {
  const TemporaryDirectory directory;
  Process process([&] {
    Watchdog watchdog(quick(directory), nullptr, nullptr, {}, nullptr);
    watchdog.add_source([] { return std::nullopt; });
    const int outer = watchdog.start("outer", after(20s));
    for (int step = 0; step < 20; ++step) {
      const int ticket = watchdog.start("step", after(5s));
      std::this_thread::sleep_for(2ms);
      watchdog.finish(ticket);
    }
    watchdog.finish(outer);
    const int late = watchdog.start("late", after(500ms));
    watchdog.finish(late);
    std::this_thread::sleep_for(600ms);
    return 0;
  });
  CHECK(process.exit_code() == 0);
  CHECK(directory.entries() == 0);
}

TEST_CASE("a step beyond its deadline ends the process with a flight record", "[runtime]") {
  const TemporaryDirectory directory;
  const Captured err(STDERR_FILENO);
  Process process([&] {
    const OneLaunch flight;
    Watchdog watchdog(
        quick(directory), nullptr, &flight.recorder, {},
        [&](const std::string& reason) { testing::write(directory.file("callback"), reason); });
    const int other = watchdog.start("step 11", after(20s));
    const int hangs = watchdog.start("step 12", after(50ms));
    std::this_thread::sleep_for(20s);
    return other + hangs;
  });
  const auto start = Clock::now();
  CHECK(process.exit_code() == 75);
  CHECK(Clock::now() - start < 10s);
  const std::string reason = content_of(directory.file("callback"));
  CHECK(reason.starts_with("step 12 is not finished after 0."));
  CHECK(content_of(directory.file("flight_rank3.txt"))
            .starts_with("Flight record of rank 3: " + reason + "\n"));
  CHECK(err.text() == "orrery: rank 3 stops: " + reason +
                          "; flight record: " + directory.file("flight_rank3.txt") + "\n");
}

TEST_CASE("a source's finding and a fault of the caller end the process too", "[runtime]") {
  const TemporaryDirectory directory;
  const Captured err(STDERR_FILENO);
  Process found([&] {
    Watchdog watchdog(quick(directory), nullptr, nullptr, {}, nullptr);
    watchdog.add_source([] { return std::optional<std::string>("a communicator failed"); });
    std::this_thread::sleep_for(20s);
    return 0;
  });
  CHECK(found.exit_code() == 75);
  CHECK(err.text() == "orrery: rank 3 stops: a communicator failed; no flight record was kept\n");

  Process told([&]() -> int {
    Watchdog watchdog(quick(directory), nullptr, nullptr, {}, nullptr);
    watchdog.fault("told so");
  });
  CHECK(told.exit_code() == 75);
  CHECK(err.text().ends_with("orrery: rank 3 stops: told so; no flight record was kept\n"));
}

TEST_CASE("a callback that hangs or throws does not keep the process", "[runtime]") {
  const TemporaryDirectory directory;
  const Captured err(STDERR_FILENO);
  WatchdogOptions options = quick(directory);
  options.fault_time = 200ms;
  Process hangs([&]() -> int {
    Watchdog watchdog(options, nullptr, nullptr, {},
                      [](const std::string&) { std::this_thread::sleep_for(60s); });
    watchdog.fault("one");
  });
  const auto start = Clock::now();
  CHECK(hangs.exit_code() == 75);
  CHECK(Clock::now() - start < 10s);

  Process throws([&]() -> int {
    Watchdog watchdog(quick(directory), nullptr, nullptr, {},
                      [](const std::string&) { throw std::runtime_error("no way"); });
    watchdog.fault("two");
  });
  CHECK(throws.exit_code() == 75);
  CHECK(err.text().ends_with("orrery: rank 3 could not clean up: no way\n"));
}

TEST_CASE("one rank's step deadline stops the whole job", "[runtime]") {
  const TemporaryDirectory directory;
  RankInfo infos[2];
  const Fd listener = listen_on("127.0.0.1", 0);
  const std::string token = random_token();
  for (int rank = 0; rank < 2; ++rank) {
    infos[rank].rank = infos[rank].local_rank = rank;
    infos[rank].world_size = infos[rank].local_size = 2;
    infos[rank].port = port_of(listener);
    infos[rank].token = token;
  }
  infos[0].listen_fd = listener.get();
  const Captured err(STDERR_FILENO);
  std::vector<Process> ranks;
  for (const RankInfo& info : infos) {
    ranks.emplace_back([&]() -> int {
      const OneLaunch flight;
      Bootstrap bootstrap(info);
      WatchdogOptions options = quick(directory);
      options.rank = info.rank;
      Watchdog watchdog(options, &bootstrap, &flight.recorder, {}, nullptr);
      const int ticket = watchdog.start("step 5", after(info.rank == 1 ? 100ms : 60s));
      std::this_thread::sleep_for(60s);
      return ticket;
    });
  }
  CHECK(ranks[0].exit_code() == 75);
  CHECK(ranks[1].exit_code() == 75);
  CHECK(content_of(directory.file("flight_rank0.txt"))
            .starts_with("Flight record of rank 0: rank 1: step 5 is not finished after "));
  CHECK(content_of(directory.file("flight_rank1.txt"))
            .starts_with("Flight record of rank 1: step 5 is not finished after "));
}

}  // namespace
}  // namespace orrery
