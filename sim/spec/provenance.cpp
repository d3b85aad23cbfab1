#include "sim/spec/provenance.h"

#include <array>

namespace orrery {
namespace {
constexpr std::array<std::string_view, 5> kNames = {"datasheet", "measured", "fitted", "derived",
                                                    "assumed"};
}

const char* source_name(Source s) { return kNames[static_cast<std::size_t>(s)].data(); }

Sourced read_sourced(json::Reader& r, std::string_view key, json::Range range) {
  const json::Node* raw = r.raw(key);
  if (raw != nullptr && raw->kind != json::Node::Kind::kObject) {
    r.fail(key, R"(found a bare value; a profile number is an object {"value": ..., "source": ...,)"
                R"( "reference": ...})");
    return {};
  }
  json::Reader o = r.object(key);
  Sourced s;
  s.pointer = o.pointer();
  if (raw == nullptr) return s;
  s.value = o.number("value", range);
  s.source = static_cast<Source>(o.choice("source", kNames));
  s.reference = o.string("reference");
  s.date = o.string_or("date", "");
  o.finish();
  return s;
}

}  // namespace orrery
