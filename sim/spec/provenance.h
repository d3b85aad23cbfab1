// Where a number comes from. Every number of a hardware or stack profile carries one.
#pragma once

#include <string>
#include <vector>

#include "sim/base/json_reader.h"

namespace orrery {

enum class Source : uint8_t { kDatasheet, kMeasured, kFitted, kDerived, kAssumed };
const char* source_name(Source s);  // "datasheet", ...

// A profile number: `{"value": 3352, "source": "datasheet", "reference": "...", "date":
// "2023-03"}`.
struct Sourced {
  double value = 0;
  Source source = Source::kAssumed;
  std::string reference;
  std::string date;     // YYYY, YYYY-MM or YYYY-MM-DD
  std::string pointer;  // where it was read, for reports
};

// Reads member `key` of `r` as a Sourced number; a plain number is an error (it has no source).
Sourced read_sourced(json::Reader& r, std::string_view key, json::Range range);

}  // namespace orrery
