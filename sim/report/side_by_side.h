// Tables and JSON of two timelines beside each other, shared by the reports of all comparisons.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sim/study/side_by_side.h"

namespace orrery {

// How the two sides are called, and which of them the difference is relative to.
struct Sides {
  std::string first, second;  // "predicted", "measured"; in JSON before "_us"
  std::string difference;     // "error"; in JSON before "_fraction"
  bool relative_to_first = false;
  // Of the difference; 0 when there is nothing to relate to.
  double fraction(double a, double b) const;
  double miss(double a, double b) const { return relative_to_first ? b - a : a - b; }
};
Sides predicted_and_measured();
Sides two_runs();  // "a" and "b", the change from a to b

constexpr int kDefaultTop = 10;  // rows of a table

// "+12.3 %", or "-" when one side has nothing.
std::string difference_text(const Sides& sides, double a, double b);

// Milliseconds, the largest differences first, at most `top` rows (0: all) and then how many more
// there are; with a column of how many there are of each, headed `counts`, unless that is "".
std::string rows_text(const std::string& title, std::vector<ComparedRow> rows, const Sides& sides,
                      int top, const std::string& counts);

// What of a rank's time is computation, exposed communication, and neither.
std::string where_time_goes_text(const SideBySide& s, const Sides& sides);
// Streams, gaps, memory.
std::string side_by_side_text(const SideBySide& s, const Sides& sides, int top);

nlohmann::ordered_json row_json(const ComparedRow& r, const Sides& sides);
// Adds "overlap", "streams", "gaps" and "memory".
void add_side_by_side(nlohmann::ordered_json& j, const SideBySide& s, const Sides& sides);

}  // namespace orrery
