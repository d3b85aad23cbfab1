#include "runtime/launch/flight_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/file.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

using Clock = std::chrono::steady_clock;

struct Launch {
  FlightRecorder::Entry entry;
  std::string name;
  FlightState state;
  double age;  // s
};

struct Stream {
  std::string name;
  uint64_t launches;
  std::vector<Launch> shown;      // oldest first
  const Launch* stuck = nullptr;  // the oldest that is known not to be completed
};

std::string_view state_name(FlightState state) {
  switch (state) {
    case FlightState::kLaunched:
      return "launched";
    case FlightState::kCompleted:
      return "completed";
    case FlightState::kUnknown:
      break;
  }
  return "unknown";
}

std::string_view comm_name(const FlightRecord& r) {
  return kCommKindNames[static_cast<std::size_t>(r.communicator)];
}

Stream look_at(const FlightRecorder& recorder, const FlightReaders& readers, int index,
               Clock::time_point now) {
  Stream stream;
  stream.name = recorder.streams()[static_cast<std::size_t>(index)];
  stream.launches = recorder.launches(index);
  for (const FlightRecorder::Entry& e : recorder.entries(index)) {
    std::string name = readers.name ? readers.name(e.record.op) : fmt::format("op {}", e.record.op);
    const double age = std::chrono::duration<double>(now - e.launched).count();
    stream.shown.push_back({e, std::move(name), FlightState::kUnknown, age});
  }
  bool completed = false;
  for (auto launch = stream.shown.rbegin(); launch != stream.shown.rend(); ++launch) {
    const FlightRecord& record = launch->entry.record;
    if (completed) {
      launch->state = FlightState::kCompleted;
    } else if (readers.state && record.event != 0) {
      launch->state = readers.state(index, record);
    }
    completed = launch->state == FlightState::kCompleted;
  }
  for (const Launch& launch : stream.shown) {
    if (launch.state != FlightState::kLaunched) continue;
    stream.stuck = &launch;
    break;
  }
  return stream;
}

std::string stream_text(const Stream& s) {
  std::string text = fmt::format("\nStream {}: {} launches, the last {} of them here\n", s.name,
                                 with_commas(static_cast<long long>(s.launches)), s.shown.size());
  if (s.stuck) {
    text +=
        fmt::format("  not completed since launch {}: {}\n", s.stuck->entry.number, s.stuck->name);
  }
  if (s.shown.empty()) return text;
  Table table;
  table.row({"op", "launch", "communicator", "sequence", "bytes", "age (s)", "state"});
  table.rule();
  for (const Launch& l : s.shown) {
    const FlightRecord& r = l.entry.record;
    const bool communicates = r.communicator != CommKind::kNone;
    table.row({escaped(l.name), std::to_string(l.entry.number),
               communicates ? std::string(comm_name(r)) : "-",
               communicates ? std::to_string(r.sequence) : "-",
               with_commas(static_cast<long long>(r.bytes)), fmt::format("{:.3f}", l.age),
               std::string(state_name(l.state))});
  }
  return text + table.str();
}

std::string launch_json(const Launch& l) {
  const FlightRecord& r = l.entry.record;
  return fmt::format(
      R"({{"launch":{},"op":{},"name":"{}","communicator":"{}","sequence":{},"bytes":{},)"
      R"("age_s":{:.6f},"state":"{}"}})",
      l.entry.number, r.op, escaped(l.name), comm_name(r), r.sequence, r.bytes, l.age,
      state_name(l.state));
}

std::string stream_json(const Stream& s) {
  std::string json = fmt::format(R"({{"stream":"{}","launches":{},"first_not_completed":{},)"
                                 R"("entries":[)",
                                 escaped(s.name), s.launches,
                                 s.stuck ? std::to_string(s.stuck->entry.number) : "null");
  for (std::size_t i = 0; i < s.shown.size(); ++i) {
    json += (i > 0 ? ",\n  " : "\n  ") + launch_json(s.shown[i]);
  }
  return json + "]}";
}

}  // namespace

FlightReport make_flight_report(const FlightRecorder& recorder, const FlightReaders& readers,
                                int rank, const std::string& reason) {
  FlightReport report;
  report.text = fmt::format("Flight record of rank {}: {}\n", rank, escaped(reason));
  report.json = fmt::format(R"({{"schema_version":1,"rank":{},"reason":"{}","streams":[)", rank,
                            escaped(reason));
  const Clock::time_point now = Clock::now();
  for (std::size_t i = 0; i < recorder.streams().size(); ++i) {
    const Stream stream = look_at(recorder, readers, static_cast<int>(i), now);
    report.text += stream_text(stream);
    report.json += (i > 0 ? ",\n" : "\n") + stream_json(stream);
  }
  report.json += "\n]}\n";
  return report;
}

std::string write_flight_report(const FlightReport& report, const std::string& directory,
                                int rank) {
  const std::string path =
      fmt::format("{}/flight_rank{}", directory.empty() ? "." : directory, rank);
  write_file_atomically(path + ".txt", report.text);
  write_file_atomically(path + ".json", report.json);
  return path + ".txt";
}

}  // namespace orrery
