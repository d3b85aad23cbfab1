#include "sim/exec/run_trace.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::string_view kKind = "orrery_trace";

std::string op_json(const RunTraceOp& o) {
  const std::string memory =
      o.memory_bytes < 0 ? "" : fmt::format(",\"memory_bytes\":{}", o.memory_bytes);
  return fmt::format(
      "{{\"class\":{},\"rank\":{},\"call\":{},\"op\":{},\"name\":{},\"kind\":\"{}\",\"stream\":\"{}"
      "\","
      "\"start_us\":{},\"end_us\":{}{}}}",
      o.rank_class, o.rank, o.call, o.op, nlohmann::json(o.name).dump(), o.kind,
      kStreamNames[static_cast<std::size_t>(o.stream)], o.start_us, o.end_us, memory);
}

using KindNames = std::array<std::string_view, kOpKinds>;

KindNames kind_names() {
  KindNames names;
  for (int k = 0; k < kOpKinds; ++k)
    names[static_cast<std::size_t>(k)] = op_kind_name(static_cast<OpKind>(k));
  return names;
}

// `kinds` is empty where the version of the trace has none.
RunTraceOp read_op(json::Reader& r, int classes, std::span<const std::string_view> kinds) {
  constexpr json::Range kIndex{0, 0xffffffffp0};
  RunTraceOp o;
  o.rank_class = static_cast<int>(r.integer("class", {0, static_cast<double>(classes - 1)}));
  o.rank = r.integer("rank", kIndex);
  o.call = static_cast<uint32_t>(r.integer("call", kIndex));
  o.op = static_cast<uint32_t>(r.integer("op", kIndex));
  o.name = r.string("name");
  if (!kinds.empty()) {
    o.kind = kinds[r.choice("kind", kinds)];
    if (r.has("memory_bytes")) o.memory_bytes = r.integer("memory_bytes", {0, 0x1p53});
  }
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
      "{}\"ops\":[",
      kRunTraceVersion, kKind, nlohmann::json(t.experiment).dump(), nlohmann::json(t.device).dump(),
      t.classes, t.fake_process_group ? "\"fake_process_group\":true," : "");
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
  if (r.has("schema_version") && (version < 1 || version > kRunTraceVersion))
    r.fail("schema_version", fmt::format("found {}, expected 1 to {}", version, kRunTraceVersion));
  findings.throw_if_any();
  RunTrace t;
  t.experiment = r.string("experiment");
  t.device = r.string("device");
  t.classes = static_cast<int>(r.integer("classes", {1, 1e6}));
  if (r.has("fake_process_group")) t.fake_process_group = r.boolean("fake_process_group");
  const KindNames names = kind_names();
  const std::span<const std::string_view> kinds(names.data(), version > 1 ? names.size() : 0);
  r.objects("ops", [&](json::Reader& op) { t.ops.push_back(read_op(op, t.classes, kinds)); });
  r.finish();
  findings.throw_if_any();
  return t;
}

}  // namespace orrery
