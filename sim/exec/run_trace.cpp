#include "sim/exec/run_trace.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::string_view kKind = "orrery_trace";

std::string op_json(const RunTraceOp& o) {
  return fmt::format(
      "{{\"class\":{},\"rank\":{},\"call\":{},\"op\":{},\"name\":{},\"stream\":\"{}\","
      "\"start_us\":{},\"end_us\":{}}}",
      o.rank_class, o.rank, o.call, o.op, nlohmann::json(o.name).dump(),
      kStreamNames[static_cast<std::size_t>(o.stream)], o.start_us, o.end_us);
}

RunTraceOp read_op(json::Reader& r, int classes) {
  constexpr json::Range kIndex{0, 0xffffffffp0};
  RunTraceOp o;
  o.rank_class = static_cast<int>(r.integer("class", {0, static_cast<double>(classes - 1)}));
  o.rank = r.integer("rank", kIndex);
  o.call = static_cast<uint32_t>(r.integer("call", kIndex));
  o.op = static_cast<uint32_t>(r.integer("op", kIndex));
  o.name = r.string("name");
  o.stream = static_cast<StreamKind>(r.choice("stream", kStreamNames));
  o.start_us = r.number("start_us");
  o.end_us = r.number("end_us");
  if (o.end_us < o.start_us)
    r.fail("end_us", fmt::format("found {}, before start_us {}", o.end_us, o.start_us));
  r.finish();
  return o;
}

}  // namespace

std::string run_trace_json(const RunTrace& t) {
  std::string out = fmt::format(
      "{{\"schema_version\":{},\"kind\":\"{}\",\"experiment\":{},\"device\":{},\"classes\":{},"
      "\"ops\":[",
      kRunTraceVersion, kKind, nlohmann::json(t.experiment).dump(), nlohmann::json(t.device).dump(),
      t.classes);
  for (const RunTraceOp& o : t.ops) out += (&o == &t.ops.front() ? "\n" : ",\n") + op_json(o);
  return out + "\n]}\n";
}

RunTrace read_run_trace(const std::string& path) {
  const json::Node root = json::parse_json_file(path);
  if (root.find("traceEvents") != nullptr)
    throw InputError({{path,
                       "found a Chrome/Kineto trace, expected the trace of `orrery run "
                       "--trace`; compare this one without --run"}});
  Diagnostics findings;
  json::Reader r(root, "", findings);
  const std::string kind = r.string("kind");
  if (r.has("kind") && kind != kKind)
    r.fail("kind", fmt::format("found {}, expected \"{}\"", in_quotes(kind), kKind));
  const int64_t version = r.integer("schema_version");
  if (r.has("schema_version") && version != kRunTraceVersion)
    r.fail("schema_version", fmt::format("found {}, expected {}", version, kRunTraceVersion));
  findings.throw_if_any();
  RunTrace t;
  t.experiment = r.string("experiment");
  t.device = r.string("device");
  t.classes = static_cast<int>(r.integer("classes", {1, 1e6}));
  r.objects("ops", [&](json::Reader& op) { t.ops.push_back(read_op(op, t.classes)); });
  r.finish();
  findings.throw_if_any();
  return t;
}

}  // namespace orrery
