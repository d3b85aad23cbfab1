#include "runtime/train/step_trace.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "sim/base/error.h"
#include "sim/base/file.h"

namespace orrery {
namespace {

std::string part_path(const std::string& path, int64_t rank) {
  return fmt::format("{}.rank{}", path, rank);
}

// The parts of the other processes; each holds its first local rank and maybe more.
void add_parts(const std::string& path, int64_t world_size, RunTrace& trace) {
  std::set<int64_t> present;
  for (const RunTraceOp& o : trace.ops) present.insert(o.rank);
  for (int64_t rank = 1; rank < world_size; ++rank) {
    if (present.count(rank) > 0) continue;
    const std::string part = part_path(path, rank);
    for (RunTraceOp& o : read_run_trace(part).ops) {
      present.insert(o.rank);
      trace.ops.push_back(std::move(o));
    }
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
  }
}

}  // namespace

RunTrace take_trace(const ExecPlan& plan, Executor& executor, const std::string& experiment,
                    const std::string& device) {
  std::vector<std::vector<int64_t>> local(plan.classes.size());
  for (const RankState* r : executor.local_ranks())
    local[r->layout().place().rank_class].push_back(r->layout().rank());
  RunTrace t;
  t.experiment = experiment;
  t.device = device;
  t.classes = static_cast<int>(plan.classes.size());
  std::map<std::tuple<uint16_t, uint32_t, uint32_t>, std::size_t> seen;
  for (const OpRecord& r : executor.take_records()) {
    const std::size_t nth = seen[{r.rank_class, r.call, r.op}]++;
    t.ops.push_back({r.rank_class, local[r.rank_class].at(nth), r.call, r.op, plan.op_name(r.op),
                     r.stream, micros(r.start), micros(r.end),
                     std::string(op_kind_name(plan.graph_op(plan.ops[r.op]).kind)),
                     r.held.count()});
  }
  return t;
}

void write_trace(const std::string& path, RunTrace trace, const ExecPlan& plan,
                 Executor& executor) {
  const int64_t first = executor.local_ranks().front()->layout().rank();
  if (first != 0) {
    write_file_atomically(part_path(path, first), run_trace_json(trace));
    executor.barrier();
    return;
  }
  executor.barrier();
  add_parts(path, plan.ranks(), trace);
  write_file_atomically(path, run_trace_json(trace));
}

}  // namespace orrery
