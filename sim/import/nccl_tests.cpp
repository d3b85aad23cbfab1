#include "sim/import/nccl_tests.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "sim/base/error.h"
#include "sim/base/file.h"
#include "sim/base/json_reader.h"

namespace orrery {
namespace {

constexpr std::size_t kMaxBytes = 64u << 20;

bool to_number(const std::string& word, double& v) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
  return error == std::errc() && end == word.data() + word.size();
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

class TextReader {
 public:
  explicit TextReader(const std::string& file) : file_(file) {}

  NcclTestRun read(const std::string& text) {
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      ++line_;
      const std::vector<std::string> w = words_of(line);
      if (w.empty()) continue;
      if (w[0] == "#")
        comment(w, line);
      else if (w.size() >= 13 && w[0].find_first_not_of("0123456789") == std::string::npos)
        row(w);
    }
    if (run_.points.empty()) diagnostics_.add(file_, "no row of nccl-tests in it");
    diagnostics_.throw_if_any();
    run_.nodes = static_cast<int64_t>(hosts_.size());
    return run_;
  }

 private:
  void comment(const std::vector<std::string>& w, const std::string& line) {
    if (w.size() > 2 && w[1] == "Rank") rank(w, line);
    const std::string start = "Collective test starting: ";
    const std::size_t at = line.find(start);
    if (at != std::string::npos) run_.program = line.substr(at + start.size());
  }

  // # Rank 0 Group 0 Pid 1 on host device 0 [0000:0a:00] NVIDIA H200
  void rank(const std::vector<std::string>& w, const std::string& line) {
    ++run_.ranks;
    const auto on = std::find(w.begin(), w.end(), "on");
    if (on != w.end() && on + 1 != w.end()) hosts_.insert(on[1]);
    const std::size_t bracket = line.find("] ");
    if (run_.gpu.empty() && bracket != std::string::npos) run_.gpu = line.substr(bracket + 2);
  }

  // size count type redop root | time algbw busbw #wrong | time algbw busbw #wrong
  void row(const std::vector<std::string>& w) {
    if (w[0] == "0") return;  // more ranks than bytes
    double v[13] = {};
    for (const std::size_t i : {0, 5, 7, 9, 11}) {
      const bool rate = i == 7 || i == 11;  // 0.00 for a few bytes
      if (!to_number(w[i], v[i]) || v[i] < 0 || (v[i] == 0 && !rate))
        return fail(
            fmt::format("found \"{}\" in column {}, expected a number above 0", w[i], i + 1));
    }
    for (const std::size_t i : {8, 12})  // "N/A" without -c
      if (to_number(w[i], v[i]) && v[i] > 0)
        return fail(fmt::format("{} wrong values at {} bytes", w[i], w[0]));
    run_.points.push_back({Bytes(static_cast<int64_t>(v[0])), w[2], v[5], v[7], v[9], v[11]});
  }

  void fail(std::string message) {
    diagnostics_.add(fmt::format("{}:{}", file_, line_), std::move(message));
  }

  std::string file_;
  int line_ = 0;
  NcclTestRun run_;
  std::set<std::string> hosts_;
  Diagnostics diagnostics_;
};

// Without MPI the program lists its first rank only, however many threads and GPUs it has.
void read_devices(const json::Node& devices, const json::Node* config, NcclTestRun& run) {
  std::set<std::string> hosts;
  for (const json::Node& d : devices.items) {
    if (const json::Node* host = d.find("hostname")) hosts.insert(host->string);
    const json::Node* gpu = d.find("device_info");
    if (run.gpu.empty() && gpu != nullptr) run.gpu = gpu->string;
  }
  run.ranks = static_cast<int64_t>(devices.items.size());
  run.nodes = static_cast<int64_t>(hosts.size());
  if (config == nullptr || run.ranks != 1) return;
  const json::Node *threads = config->find("nthreads"), *gpus = config->find("ngpus");
  if (threads != nullptr && gpus != nullptr) run.ranks = threads->integer * gpus->integer;
}

NcclTestRun read_json(const std::string& text, const std::string& file) {
  const json::Node root = json::parse_json(text, file);
  Diagnostics diagnostics;
  NcclTestRun run;
  json::Reader r(root, "", diagnostics);
  const json::Node* config = r.raw("config");
  const json::Node* devices = config == nullptr ? nullptr : config->find("devices");
  if (devices == nullptr) devices = r.raw("devices");
  if (devices != nullptr) read_devices(*devices, config, run);
  if (const json::Node* args = r.raw("args"); args != nullptr && !args->items.empty())
    run.program = args->items.front().string;
  r.objects("results", [&](json::Reader& p) {
    NcclTestPoint point;
    point.size = Bytes(p.integer("size", {0, 1e15}));
    point.type = p.string_or("type", "");
    const auto side = [&](const char* key, double& time, double& bus) {
      json::Reader s = p.object(key);
      time = s.number(s.has("cpu_time") ? "cpu_time" : "time", json::kPositive);
      bus = s.number("bus_bw", {0, 1e6});
      const json::Node* wrong = s.raw("nwrong");
      if (wrong != nullptr && wrong->number > 0)
        s.fail("nwrong", fmt::format("{:g} wrong values", wrong->number));
    };
    side("out_of_place", point.time_us, point.bus_GBps);
    side("in_place", point.in_place_time_us, point.in_place_bus_GBps);
    if (point.size.count() > 0) run.points.push_back(point);
  });
  diagnostics.throw_if_any();
  if (run.points.empty()) throw InputError({{file, "no result of nccl-tests in it"}});
  return run;
}

}  // namespace

NcclTestRun parse_nccl_tests(const std::string& text, const std::string& file) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{') return read_json(text, file);
  return TextReader(file).read(text);
}

NcclTestRun read_nccl_tests(const std::string& path) {
  return parse_nccl_tests(read_file(path, kMaxBytes), path);
}

}  // namespace orrery
