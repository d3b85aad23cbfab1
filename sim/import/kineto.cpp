#include "sim/import/kineto.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

using json::Node;

constexpr std::string_view kStepPrefix = "ProfilerStep#";

struct Annotation {
  std::string name;
  double begin, end;
  int index;  // among those of its name
};

void start_at_first_kernel(MeasuredTrace& t) {
  const double zero = t.kernels.front().start_us;
  for (MeasuredKernel& k : t.kernels) {
    k.start_us -= zero;
    t.span_us = std::max(t.span_us, k.start_us + k.duration_us);
  }
  for (MeasuredMemory& m : t.memory) m.time_us -= zero;
}

class TraceReader {
 public:
  explicit TraceReader(const std::string& path) : path_(path) {}

  MeasuredTrace read() {
    const Node root = json::parse_json_file(path_);
    const Node* events = root.find("traceEvents");
    if (events == nullptr || events->kind != Node::Kind::kArray)
      fail("found no \"traceEvents\" array; expected a Chrome/Kineto trace");
    header(root);
    for (const Node& e : events->items) {
      event(e);
      ++index_;
    }
    if (trace_.kernels.empty()) fail("found no GPU kernel (events with cat \"kernel\")");
    if (devices_.size() > 1)
      fail(fmt::format("found kernels of {} GPUs; expected the trace of one rank on one GPU",
                       devices_.size()));
    label();
    normalise();
    return std::move(trace_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw InputError({{path_, message}}); }
  double number(const Node& e, std::string_view key) const {
    const Node* n = e.find(key);
    if (n == nullptr || (n->kind != Node::Kind::kNumber && n->kind != Node::Kind::kInteger))
      throw InputError({{e.where(fmt::format("/traceEvents/{}", index_)),
                         fmt::format("the event has no number \"{}\"", key)}});
    return n->number;
  }
  static std::string text(const Node& e, std::string_view key) {
    const Node* n = e.find(key);
    return n == nullptr ? "" : n->string;
  }
  static int64_t argument(const Node& e, std::string_view key) {
    const Node* args = e.find("args");
    const Node* n = args == nullptr ? nullptr : args->find(key);
    return n == nullptr ? -1 : n->integer;
  }

  void header(const Node& root) {
    const Node* info = root.find("distributedInfo");
    if (const Node* rank = info == nullptr ? nullptr : info->find("rank"))
      if (rank->kind == Node::Kind::kInteger) trace_.rank = rank->integer;
    const Node* devices = root.find("deviceProperties");
    if (devices != nullptr && !devices->items.empty())
      trace_.device = text(devices->items[0], "name");
  }

  void event(const Node& e) {
    if (text(e, "ph") == "i" && text(e, "name") == "[memory]") return memory(e);
    if (text(e, "ph") != "X") return;
    const std::string cat = text(e, "cat");
    if (cat == "kernel" || cat == "gpu_memcpy" || cat == "gpu_memset") {
      MeasuredKernel k;
      k.name = text(e, "name");
      k.start_us = number(e, "ts");
      k.duration_us = number(e, "dur");
      k.stream = argument(e, "stream");
      const KernelName known = classify_kernel(cat == "kernel" ? k.name : "Memcpy");
      k.cls = known.cls, k.family = known.family;
      if (const int64_t device = argument(e, "device"); device >= 0) devices_.insert(device);
      trace_.kernels.push_back(std::move(k));
      correlation_.push_back(argument(e, "correlation"));
    } else if (cat == "cuda_runtime" || cat == "cuda_driver") {
      const int64_t correlation = argument(e, "correlation");
      if (correlation >= 0) launch_[correlation] = number(e, "ts");
    } else if (cat == "user_annotation") {
      const bool step = text(e, "name").starts_with(kStepPrefix);
      (step ? steps_ : annotations_)
          .push_back({text(e, "name"), number(e, "ts"), number(e, "ts") + number(e, "dur"), 0});
    }
  }

  // GPUs are devices of type 1 (c10::DeviceType).
  void memory(const Node& e) {
    if (argument(e, "Device Type") != 1 || argument(e, "Total Allocated") < 0) return;
    trace_.memory.push_back({number(e, "ts"), argument(e, "Total Allocated")});
  }

  void label() {
    std::stable_sort(annotations_.begin(), annotations_.end(),
                     [](const auto& a, const auto& b) { return a.begin < b.begin; });
    std::map<std::string, int> seen;
    for (Annotation& a : annotations_) a.index = seen[a.name]++;
    for (std::size_t i = 0; i < trace_.kernels.size(); ++i) {
      const auto launch = launch_.find(correlation_[i]);
      if (launch == launch_.end()) continue;
      for (const Annotation& s : steps_)
        if (s.begin <= launch->second && launch->second <= s.end)
          trace_.kernels[i].step = step_number(s.name);
      const Annotation* inner = nullptr;
      for (const Annotation& a : annotations_) {
        if (a.begin > launch->second) break;
        if (launch->second <= a.end &&
            (inner == nullptr || a.end - a.begin <= inner->end - inner->begin))
          inner = &a;
      }
      if (inner != nullptr)
        trace_.kernels[i].segment = inner->name, trace_.kernels[i].layer = inner->index;
    }
  }

  static int64_t step_number(const std::string& name) {
    int64_t n = -1;
    std::from_chars(name.data() + kStepPrefix.size(), name.data() + name.size(), n);
    return n;
  }

  void normalise() {
    auto& k = trace_.kernels;
    std::stable_sort(k.begin(), k.end(),
                     [](const auto& a, const auto& b) { return a.start_us < b.start_us; });
    std::stable_sort(trace_.memory.begin(), trace_.memory.end(),
                     [](const auto& a, const auto& b) { return a.time_us < b.time_us; });
    start_at_first_kernel(trace_);
  }

  std::string path_;
  std::size_t index_ = 0;  // of the event being read
  MeasuredTrace trace_;
  std::vector<int64_t> correlation_;
  std::map<int64_t, double> launch_;
  std::vector<Annotation> annotations_, steps_;
  std::set<int64_t> devices_;
};

// Where the steps of a trace begin, on the GPU.
std::map<int64_t, double> step_starts(const MeasuredTrace& trace) {
  std::map<int64_t, double> starts;
  for (const MeasuredKernel& k : trace.kernels)
    if (k.step >= 0) starts.try_emplace(k.step, k.start_us);
  return starts;
}

// The step of median length of those that another one follows; the only one otherwise.
int64_t typical_step(const std::map<int64_t, double>& starts) {
  std::vector<std::pair<double, int64_t>> lengths;
  for (auto i = starts.begin(); std::next(i) != starts.end(); ++i)
    lengths.emplace_back(std::next(i)->second - i->second, i->first);
  if (lengths.empty()) return starts.begin()->first;
  std::sort(lengths.begin(), lengths.end());
  return lengths[(lengths.size() - 1) / 2].second;
}

}  // namespace

MeasuredTrace read_kineto(const std::string& path) { return TraceReader(path).read(); }

MeasuredStep select_step(const MeasuredTrace& trace, std::optional<int64_t> number,
                         const std::string& path) {
  const std::map<int64_t, double> starts = step_starts(trace);
  MeasuredStep s;
  if (starts.empty()) {
    if (number)
      throw InputError({{path, fmt::format("has no step {}: nothing in it is annotated "
                                           "\"ProfilerStep#N\" (torch.profiler's step())",
                                           *number)}});
    s.trace = trace, s.step_us = trace.span_us;
    return s;
  }
  s.first = starts.begin()->first, s.last = starts.rbegin()->first;
  s.number = number.value_or(typical_step(starts));
  const auto at = starts.find(s.number);
  if (at == starts.end())
    throw InputError(
        {{path, fmt::format("has no step {}; its steps are {} to {}", s.number, s.first, s.last)}});
  s.trace.rank = trace.rank, s.trace.device = trace.device;
  for (const MeasuredKernel& k : trace.kernels) {
    if (k.step == s.number) s.trace.kernels.push_back(k);
    s.left_out += k.step < 0 ? 1 : 0;
  }
  const auto next = std::next(at);
  double until = trace.span_us;
  if (next != starts.end()) until = next->second;
  for (const MeasuredMemory& m : trace.memory)
    if (m.time_us >= at->second && m.time_us < until) s.trace.memory.push_back(m);
  start_at_first_kernel(s.trace);
  s.step_us = next != starts.end() ? next->second - at->second : s.trace.span_us;
  return s;
}

}  // namespace orrery
