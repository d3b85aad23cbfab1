#include "runtime/launch/spawn.h"

#include <algorithm>
#include <sstream>

#include "runtime/launch/bootstrap.h"
#include "tests/catch.h"
#include "tests/unit/runtime/processes.h"

namespace orrery {
namespace {

using namespace std::chrono_literals;
using testing::Captured;
using testing::Clock;
using testing::failure_of;
using testing::Process;
using testing::TemporaryDirectory;

SpawnOptions quick() {
  SpawnOptions options;
  options.executable = "/bin/sh";
  options.grace_time = 300ms;
  options.terminate_time = 300ms;
  return options;
}

struct Outcome {
  int code;
  std::string out, err;
};

// Assertions come after this, when what they print is no longer captured.
Outcome run_captured(int ranks, const std::vector<std::string>& argv, const Environment& extra,
                     const SpawnOptions& options) {
  const Captured out(STDOUT_FILENO), err(STDERR_FILENO);
  const auto environment = [&](int rank) {
    Environment e = extra;
    e["EXTRA"] = "e" + std::to_string(rank);
    return e;
  };
  const int code = run_local(ranks, argv, environment, options);
  return {code, out.text(), err.text()};
}

Outcome run_shell(int ranks, const std::string& script) {
  return run_captured(ranks, {"sh", "-c", script}, {}, quick());
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("ranks get their variables and their output its place", "[runtime]") {
  const Outcome o = run_shell(
      3,
      "echo rank $ORRERY_RANK of $ORRERY_WORLD_SIZE, $ORRERY_LOCAL_RANK of $ORRERY_LOCAL_SIZE, "
      "$EXTRA; [ $ORRERY_RANK = 0 ] || printf 'no newline, ' >&2; read line || echo no input");
  CHECK(o.code == 0);
  CHECK(o.out == "rank 0 of 3, 0 of 3, e0\nno input\n");
  for (const std::string r : {"1", "2"}) {
    CHECK(has_line(o.err, "[rank " + r + "] rank " + r + " of 3, " + r + " of 3, e" + r));
    CHECK(has_line(o.err, "[rank " + r + "] no newline, no input"));
  }
  CHECK(std::count(o.err.begin(), o.err.end(), '\n') == 4);
}

TEST_CASE("every job has a token of its own, shared by its ranks", "[runtime]") {
  const TemporaryDirectory directory;
  const std::string script = "echo $ORRERY_TOKEN >> " + directory.file("tokens");
  REQUIRE(run_shell(2, script).code == 0);
  REQUIRE(run_shell(2, script).code == 0);
  std::istringstream text(testing::content_of(directory.file("tokens")));
  std::vector<std::string> tokens;
  for (std::string line; std::getline(text, line);) tokens.push_back(line);
  REQUIRE(tokens.size() == 4);
  for (const std::string& t : tokens) CHECK(t.size() == 32);
  CHECK(tokens[0] == tokens[1]);
  CHECK(tokens[2] == tokens[3]);
  CHECK(tokens[0] != tokens[2]);
}

TEST_CASE("the exit code of the rank that failed is returned", "[runtime]") {
  // The others stop because of rank 1, and are faster.
  const Outcome o =
      run_shell(3, "if [ $ORRERY_RANK = 1 ]; then sleep 0.1; exit 3; else exit 75; fi");
  CHECK(o.code == 3);
  CHECK(has_line(o.err, "orrery: rank 1 failed with exit code 3"));
  CHECK(std::count(o.err.begin(), o.err.end(), '\n') == 1);

  CHECK(run_shell(2, "exit 75").code == 75);
}

TEST_CASE("a killed rank is a failure of its own kind", "[runtime]") {
  const Outcome o = run_shell(3, "[ $ORRERY_RANK != 2 ] || kill -KILL $$; exit $ORRERY_RANK");
  CHECK(o.code == 75);
  CHECK(has_line(o.err, "orrery: rank 2 was killed by SIGKILL (Killed)"));
}

TEST_CASE("ranks that do not stop are terminated, then killed", "[runtime]") {
  const auto start = Clock::now();
  // exec: a shell's child would outlive it.
  const Outcome o = run_shell(
      3,
      "case $ORRERY_RANK in 0) trap '' TERM; while :; do :; done;; 1) exit 3;; *) exec sleep 60; "
      "esac");
  CHECK(o.code == 3);
  CHECK(has_line(o.err,
                 "orrery: rank 1 failed with exit code 3; ranks 0 and 2 did not stop within "
                 "0.3 s and were terminated"));
  CHECK(Clock::now() - start > 500ms);
  CHECK(Clock::now() - start < 20s);
}

TEST_CASE("long output is neither lost nor torn", "[runtime]") {
  const Outcome o =
      run_shell(3, "i=0; while [ $i -lt 3000 ]; do echo line $i of $ORRERY_RANK; i=$((i+1)); done");
  CHECK(o.code == 0);
  CHECK(std::count(o.out.begin(), o.out.end(), '\n') == 3000);
  std::istringstream text(o.err);
  int next[3] = {0, 0, 0};
  int torn = 0;
  for (std::string line; std::getline(text, line);) {
    const std::size_t rank = line.size() > 6 && line[6] == '1' ? 1 : 2;
    const std::string r = std::to_string(rank);
    if (line != "[rank " + r + "] line " + std::to_string(next[rank]++) + " of " + r) ++torn;
  }
  CHECK(torn == 0);
  CHECK(next[1] == 3000);
  CHECK(next[2] == 3000);
}

TEST_CASE("signals are passed on", "[runtime]") {
  for (const int number : {SIGINT, SIGTERM}) {
    CAPTURE(number);
    const TemporaryDirectory directory;
    Process parent([&] {
      const std::string ready = "echo > " + directory.file("ready") + "$ORRERY_RANK; ";
      return run_shell(2, "trap 'exit 0' INT TERM; " + ready + "while :; do sleep 0.01; done").code;
    });
    REQUIRE(testing::eventually([&] { return directory.entries() == 2; }));
    parent.signal(number);
    CHECK(parent.exit_code() == 0);  // the ranks end well

    Process other([&] {
      return run_shell(2, "echo > " + directory.file("again") + "$ORRERY_RANK; exec sleep 60").code;
    });
    REQUIRE(testing::eventually([&] { return directory.entries() == 4; }));
    other.signal(number);
    CHECK(other.exit_code() == 128 + number);
  }
}

TEST_CASE("ranks die with their parent", "[runtime]") {
  const TemporaryDirectory directory;
  Process parent([&] {
    const std::string name = directory.file("pid") + "$ORRERY_RANK";
    const std::string script = "echo $$ > " + name + ".new; mv " + name + ".new " + name;
    return run_shell(2, script + "; exec sleep 60").code;
  });
  REQUIRE(testing::eventually([&] {
    return !testing::content_of(directory.file("pid0")).empty() &&
           !testing::content_of(directory.file("pid1")).empty();
  }));
  parent.signal(SIGKILL);
  CHECK(parent.exit_code() == -SIGKILL);
  for (const char* name : {"pid0", "pid1"}) {
    const std::string pid = std::to_string(std::stoi(testing::content_of(directory.file(name))));
    // Gone, or a zombie that its new parent has not yet waited for.
    CHECK(testing::eventually([&] {
      const std::string stat = testing::content_of("/proc/" + pid + "/stat");
      return stat.empty() || stat.find(") Z ") != std::string::npos;
    }));
  }
}

TEST_CASE("what cannot be started is an error", "[runtime]") {
  SpawnOptions options = quick();
  options.executable = "/nonexistent/orrery";
  const auto failure = failure_of([&] { run_local(2, {"orrery"}, nullptr, options); });
  CHECK(failure.code == ExitCode::kUnavailable);
  CHECK(failure.message == "cannot start rank 0 (/nonexistent/orrery): No such file or directory");
  CHECK(failure_of([&] { run_local(0, {"sh"}, nullptr, quick()); }).code == ExitCode::kUsage);
}

// Not a test: what the ranks of the next one run.
TEST_CASE("bootstrap of a spawned rank", "[.][spawned]") {
  const RankInfo info = rank_info(process_environment());
  if (info.launcher != "orrery run") return;
  Bootstrap b(info);
  const auto all = b.all_gather(std::to_string(info.rank), after(20s));
  const bool right = all == std::vector<std::string>{"0", "1", "2"};
  if (info.rank == 2 && ::getenv("ORRERY_TEST_KILL")) ::raise(SIGKILL);
  if (::getenv("ORRERY_TEST_KILL")) {
    testing::eventually([&] { return b.aborted().has_value(); });
    ::_exit(b.aborted() == "rank 2 disconnected" ? 75 : 1);
  }
  b.finish(after(20s));
  ::_exit(right ? 0 : 1);
}

TEST_CASE("spawned ranks find each other, and notice when one is killed", "[runtime]") {
  const std::vector<std::string> argv = {"orrery_tests", "[spawned]"};
  const Outcome good = run_captured(3, argv, {}, {});
  CAPTURE(good.out, good.err);
  CHECK(good.code == 0);
  const auto start = Clock::now();
  const Outcome killed = run_captured(3, argv, {{"ORRERY_TEST_KILL", "1"}}, {});
  CAPTURE(killed.out, killed.err);
  CHECK(killed.code == 75);
  CHECK(Clock::now() - start < 10s);  // on their own, before the grace time is over
  CHECK(has_line(killed.err, "orrery: rank 2 was killed by SIGKILL (Killed)"));
}

}  // namespace
}  // namespace orrery
