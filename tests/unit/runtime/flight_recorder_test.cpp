#include "runtime/launch/flight_recorder.h"

#include <malloc.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/launch/flight_report.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

FlightRecord launch_of(uint32_t op, uint64_t event = 0) {
  FlightRecord r;
  r.op = op;
  r.event = event;
  return r;
}

TEST_CASE("the ring keeps the last launches of each stream", "[runtime]") {
  FlightRecorder recorder({"compute", "comm"}, 5);  // rounded up to 8
  CHECK(recorder.entries(0).empty());
  for (uint32_t i = 0; i < 3; ++i) recorder.record(1, launch_of(100 + i));
  REQUIRE(recorder.entries(1).size() == 3);
  CHECK(recorder.entries(0).empty());
  for (uint32_t i = 3; i < 21; ++i) recorder.record(1, launch_of(100 + i));
  CHECK(recorder.launches(1) == 21);
  const auto entries = recorder.entries(1);
  REQUIRE(entries.size() == 8);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    CHECK(entries[i].number == 13 + i);
    CHECK(entries[i].record.op == 113 + i);
    if (i > 0) CHECK(entries[i].launched >= entries[i - 1].launched);
  }
}

TEST_CASE("recording allocates nothing", "[runtime]") {
  FlightRecorder recorder({"compute"}, 64);
  const std::size_t before = ::mallinfo2().uordblks;
  for (uint32_t i = 0; i < 1000; ++i) recorder.record(0, launch_of(i));
  CHECK(::mallinfo2().uordblks == before);
}

TEST_CASE("records are never torn while they are overwritten", "[runtime]") {
  FlightRecorder recorder({"compute"}, 64);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint32_t i = 0; !stop; ++i) {
      FlightRecord r;
      r.op = r.sequence = i;
      r.bytes = r.event = i;
      recorder.record(0, r);
    }
  });
  int torn = 0;
  std::size_t seen = 0;
  // On a busy machine the writer may stand still for a while, or overwrite all at once.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (seen < 100'000 && std::chrono::steady_clock::now() < limit) {
    for (const auto& e : recorder.entries(0)) {
      const uint64_t n = e.number;
      if (e.record.op != n || e.record.sequence != n || e.record.bytes != n ||
          e.record.event != n) {
        ++torn;
      }
      ++seen;
    }
  }
  stop = true;
  writer.join();
  CHECK(torn == 0);
  CHECK(seen > 0);
}

// Two streams; on "comm" the launches up to 2 are completed and 3 hangs.
struct Example {
  FlightRecorder recorder{{"compute", "comm \"1\""}, 4};
  FlightReaders readers;
  int queries = 0;

  Example() {
    recorder.record(0, launch_of(7));
    for (uint32_t i = 0; i < 6; ++i) {
      FlightRecord r = launch_of(i, 1 + i);
      r.communicator = CommKind::kExpert;
      r.sequence = 40 + i;
      r.bytes = 1'000'000 + i;
      recorder.record(1, r);
    }
    readers.name = [](uint32_t op) { return "op \"" + std::to_string(op) + "\""; };
    readers.state = [this](int, const FlightRecord& r) {
      ++queries;
      return r.event <= 4 ? FlightState::kCompleted : FlightState::kLaunched;
    };
  }
};

TEST_CASE("the flight report shows what is stuck", "[runtime]") {
  Example example;
  const FlightReport report =
      make_flight_report(example.recorder, example.readers, 3, "step 12 is not finished");
  CAPTURE(report.text);
  CHECK(report.text.starts_with("Flight record of rank 3: step 12 is not finished\n"));
  CHECK(report.text.find("Stream compute: 1 launches, the last 1 of them here\n") !=
        std::string::npos);
  CHECK(report.text.find("not completed since launch 4: op \"4\"\n") != std::string::npos);
  CHECK(report.text.find("1,000,005") != std::string::npos);
  CHECK(example.queries == 3);  // 5, 4, and 3, before which all is completed

  const auto json = nlohmann::json::parse(report.json);
  CHECK(json["rank"] == 3);
  CHECK(json["reason"] == "step 12 is not finished");
  REQUIRE(json["streams"].size() == 2);
  const auto& compute = json["streams"][0];
  CHECK(compute["first_not_completed"].is_null());
  CHECK(compute["entries"][0]["state"] == "unknown");
  const auto& comm = json["streams"][1];
  CHECK(comm["stream"] == "comm \"1\"");
  CHECK(comm["launches"] == 6);
  CHECK(comm["first_not_completed"] == 4);
  REQUIRE(comm["entries"].size() == 4);
  const char* states[] = {"completed", "completed", "launched", "launched"};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& e = comm["entries"][i];
    CHECK(e["launch"] == i + 2);
    CHECK(e["name"] == "op \"" + std::to_string(i + 2) + "\"");
    CHECK(e["communicator"] == "expert");
    CHECK(e["sequence"] == i + 42);
    CHECK(e["bytes"] == 1'000'002 + i);
    CHECK(e["age_s"].get<double>() >= 0);
    CHECK(e["state"] == states[i]);
  }
}

TEST_CASE("the flight report is written beside each other as text and JSON", "[runtime]") {
  Example example;
  const testing::TemporaryDirectory directory;
  const FlightReport report = make_flight_report(example.recorder, {}, 3, "because");
  CHECK(write_flight_report(report, directory.path(), 3) == directory.file("flight_rank3.txt"));
  CHECK(testing::content_of(directory.file("flight_rank3.txt")) == report.text);
  CHECK(testing::content_of(directory.file("flight_rank3.json")) == report.json);
  CHECK(report.text.find("op 5") != std::string::npos);  // without names, numbers
  CHECK(testing::failure_of([&] { write_flight_report(report, directory.file("none"), 3); }).code ==
        ExitCode::kCannotCreate);
}

}  // namespace
}  // namespace orrery
