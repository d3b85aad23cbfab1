#include "sim/study/sensitivity.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>

#if ORRERY_HAS_TBB
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#endif

#include "sim/schedule/compile_plan.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using json::Node;

// A constant as one case reads it.
struct Found {
  Node* node;
  std::string name, source;
};

struct Outcome {
  std::string name, source;
  std::string problem[2];
  std::vector<ValidationResult> results[2];  // empty: as the base
};

struct CaseOutcome {
  std::vector<ValidationResult> base;
  std::vector<Outcome> constants;
};

bool is_number(const Node& n) {
  return n.kind == Node::Kind::kInteger || n.kind == Node::Kind::kNumber;
}

bool moves(const std::string& source) {
  return source == "fitted" || source == "measured" || source == "assumed";
}

// "gpu/h100_sxm5" of a file below the profiles; "" of another.
std::string profile_of(const Node& n, const fs::path& profiles) {
  if (!n.file) return "";
  const fs::path relative = fs::path(*n.file).lexically_relative(profiles);
  if (relative.empty() || *relative.begin() == "..") return "";
  return fs::path(relative).replace_extension().generic_string();
}

void collect(Node& n, const std::string& path, const fs::path& profiles, std::vector<Found>& out) {
  if (n.kind != Node::Kind::kObject) return;
  const Node* source = n.find("source");
  if (source != nullptr && source->kind == Node::Kind::kString) {
    const std::string profile = profile_of(n, profiles);
    if (moves(source->string) && !profile.empty())
      out.push_back({&n, profile + ": " + path, source->string});
    return;
  }
  for (auto& [key, child] : n.members)
    collect(child, path.empty() ? key : path + "/" + key, profiles, out);
}

// Paths begin in the file that has the constant: below the cluster, its node and GPU, ...
std::vector<Found> constants_of(Node& root, const fs::path& profiles) {
  std::vector<Found> out;
  const auto within = [&](Node* parent, std::string_view inner) {
    if (parent == nullptr || parent->kind != Node::Kind::kObject) return;
    for (auto& [key, child] : parent->members)
      if (key != inner) collect(child, key, profiles, out);
  };
  const auto member = [](Node* n, std::string_view key) {
    return n == nullptr ? nullptr : n->find(key);
  };
  Node* cluster = root.find("cluster");
  Node* node = member(cluster, "node");
  Node* stack = root.find("stack");
  within(cluster, "node");
  within(node, "gpu");
  within(member(node, "gpu"), "");
  within(stack, "collectives");
  within(member(stack, "collectives"), "");
  return out;
}

void scale(Node& n, double factor) {
  if (is_number(n)) {
    n.number *= factor;
    n.kind = Node::Kind::kNumber;
  }
  for (Node& item : n.items) scale(item, factor);
  for (auto& [key, child] : n.members) scale(child, factor);
}

bool same(const OpTiming& a, const OpTiming& b) {
  return std::equal(std::begin(a.duration), std::end(a.duration), std::begin(b.duration)) &&
         a.demand == b.demand;
}

// Whether the study's step is the base's: the plan's ops last as long and the rest of what the
// simulation reads of the profiles is the same.
bool same_step(const StudySpec& base, const ExecPlan& plan, const std::vector<OpTiming>& timing,
               const StudySpec& s) {
  const SimOptions a = sim_options(base), b = sim_options(s);
  if (a.reserved != b.reserved || a.host_issue != b.host_issue ||
      base.stack.expert_load_cv.value != s.stack.expert_load_cv.value)
    return false;
  const GraphConfig graph{s.model, s.plan, s.stack, s.cluster.node.gpus};
  const std::vector<OpTiming> moved = time_ops(plan, {graph, s.cluster}, 1);
  return std::equal(timing.begin(), timing.end(), moved.begin(), moved.end(), same);
}

CaseOutcome run_case(const std::string& file, const std::string& folder,
                     const std::string& data_root, const SensitivityOptions& options) {
  CaseOutcome out;
  const std::string name = case_name(file, folder);
  Node root = resolve_experiment(file, data_root);
  const StudySpec study = read_experiment(root, file);
  out.base = validate_case(study, name, options.validate);
  const bool predicted = std::any_of(out.base.begin(), out.base.end(),
                                     [](const ValidationResult& r) { return r.problem.empty(); });
  if (!predicted) return out;
  const GraphConfig graph{study.model, study.plan, study.stack, study.cluster.node.gpus};
  const ExecPlan plan = compile_plan(graph);
  const std::vector<OpTiming> timing = time_ops(plan, {graph, study.cluster}, 1);
  for (const Found& f : constants_of(root, fs::path(data_root) / "hardware_profiles")) {
    if (f.name.find(options.only) == std::string::npos) continue;
    Outcome o;
    o.name = f.name, o.source = f.source;
    const Node kept = *f.node;
    for (int up = 0; up < 2; ++up) {
      scale(*f.node, up != 0 ? 1 + kMove : 1 - kMove);
      try {
        const StudySpec moved = read_experiment(root, file);
        if (!same_step(study, plan, timing, moved))
          o.results[up] = validate_case(moved, name, options.validate);
      } catch (const Error& e) {
        o.problem[up] = e.what();
      }
      *f.node = kept;
    }
    out.constants.push_back(std::move(o));
  }
  return out;
}

// The base with the moved predictions of one constant in their places.
MovedConstant::Side side_of(const std::vector<CaseOutcome>& cases,
                            const std::vector<const Outcome*>& of_case, int up) {
  MovedConstant::Side side;
  Validation v;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Outcome* o = of_case[i];
    if (o != nullptr && !o->problem[up].empty() && side.problem.empty())
      side.problem = o->problem[up];
    const bool again = o != nullptr && !o->results[up].empty();
    const std::vector<ValidationResult>& results = again ? o->results[up] : cases[i].base;
    for (std::size_t k = 0; k < results.size(); ++k) {
      v.results.push_back(results[k]);
      if (results[k].predicted != cases[i].base[k].predicted) side.changed.push_back(results[k]);
    }
  }
  if (!side.problem.empty()) return {side.problem, {}, {}, {}};
  summarise(v);
  side.time = std::move(v.time), side.memory = std::move(v.memory);
  return side;
}

std::vector<MovedConstant> merge(const std::vector<CaseOutcome>& cases) {
  std::map<std::string, std::vector<const Outcome*>> by_name;
  for (std::size_t i = 0; i < cases.size(); ++i)
    for (const Outcome& o : cases[i].constants) {
      auto& of_case = by_name[o.name];
      of_case.resize(cases.size(), nullptr);
      of_case[i] = &o;
    }
  std::vector<MovedConstant> out;
  for (const auto& [name, of_case] : by_name) {
    MovedConstant m;
    m.name = name;
    for (const Outcome* o : of_case)
      if (o != nullptr) ++m.cases, m.source = o->source;
    for (int up = 0; up < 2; ++up) m.side[up] = side_of(cases, of_case, up);
    out.push_back(std::move(m));
  }
  return out;
}

void for_each_index(std::size_t n, int threads, const std::function<void(std::size_t)>& run) {
#if ORRERY_HAS_TBB
  const oneapi::tbb::global_control limit(oneapi::tbb::global_control::max_allowed_parallelism,
                                          static_cast<std::size_t>(threads));
  oneapi::tbb::task_arena arena(threads);
  arena.execute([&] {
    oneapi::tbb::parallel_for(std::size_t{0}, n, run, oneapi::tbb::simple_partitioner());
  });
#else
  static_cast<void>(threads);
  for (std::size_t i = 0; i < n; ++i) run(i);
#endif
}

}  // namespace

Sensitivity sensitivity(const std::string& folder, const std::string& data_root,
                        const SensitivityOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw Error(ExitCode::kNoInput, folder + ": there is no such folder of cases");
  const std::vector<std::string> files = validation_files(folder);
  if (files.empty())
    throw Error(ExitCode::kNoInput,
                folder + ": found no experiment with a \"validation\" member below this folder");
  std::vector<CaseOutcome> cases(files.size());
  std::mutex reporting;
  int64_t done = 0;
  for_each_index(files.size(), options.threads, [&](std::size_t i) {
    cases[i] = run_case(files[i], folder, data_root, options);
    const std::lock_guard<std::mutex> lock(reporting);
    if (options.validate.progress)
      options.validate.progress(++done, static_cast<int64_t>(files.size()));
  });
  Sensitivity s;
  for (const CaseOutcome& c : cases)
    s.base.results.insert(s.base.results.end(), c.base.begin(), c.base.end());
  summarise(s.base);
  s.constants = merge(cases);
  return s;
}

}  // namespace orrery
