// The trace of a step that a backend really ran, as `orrery run --trace` writes it and `orrery
// compare` reads it: one JSON object
//   {"schema_version": 2, "kind": "orrery_trace", "experiment": "..", "device": "..", "classes": n,
//    "ops": [{"class": c, "rank": r, "call": i, "op": plan_op, "name": "layer 3 mlp(F) ..",
//             "kind": "gemm_fp8", "stream": "compute", "start_us": x, "end_us": y,
//             "memory_bytes": b}, ..]}
// where class, call and op are those of OpRecord. Version 1 has no "kind" and no "memory_bytes".
// With `--fake-process-group` also "fake_process_group": true; collectives are local copies then.
#pragma once

#include <string>
#include <vector>

#include "sim/exec/trace.h"

namespace orrery {

constexpr int kRunTraceVersion = 2;

// One op on one rank. Times are microseconds on the rank's own clock.
struct RunTraceOp {
  int rank_class = 0;
  int64_t rank = 0;
  uint32_t call = 0;
  uint32_t op = 0;
  std::string name;  // ExecPlan::op_name
  StreamKind stream = StreamKind::kCompute;
  double start_us = 0, end_us = 0;
  std::string kind = {};      // op_kind_name; "" in a trace of version 1
  int64_t memory_bytes = -1;  // OpRecord::held; -1: not recorded
};

struct RunTrace {
  std::string experiment;
  std::string device;
  int classes = 0;
  std::vector<RunTraceOp> ops;
  bool fake_process_group = false;
};

std::string run_trace_json(const RunTrace& trace);
// Strict. Missing file: InputError with kNoInput; anything else that is wrong: InputError.
RunTrace read_run_trace(const std::string& path);

}  // namespace orrery
