// Text helpers shared by messages and reports.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery {

// The candidate with the smallest edit distance (insert, delete, substitute, transpose; case is
// ignored), or "" when none is within a third of the word's length (at least 1). Failing that, the
// shortest candidate that `word` (of at least 4 letters) abbreviates: same first letter, the other
// letters in order ("hbm_bw" for "hbm_bandwidth_GBps"). O(n·len²).
std::string nearest_name(std::string_view word, std::span<const std::string_view> candidates);
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

// "a, b and c".
std::string join_words(std::span<const std::string_view> words);

// In double quotes, with quotes, backslashes and control characters escaped as in JSON, so that a
// message stays on one line whatever a file contains. Longer than `max_bytes`: cut, with "...".
std::string in_quotes(std::string_view text, std::size_t max_bytes = 200);
// The same escapes without the quotes or the cut.
std::string escaped(std::string_view text);

// "104,857,600 bytes (100.0 MiB)".
std::string bytes_text(std::size_t bytes);

// Of a fraction: "4.3 %", "-14.1 %" or "+0.2 %".
std::string percent(double fraction);
std::string signed_percent(double fraction);

// Thousands separated by commas: 2664000 -> "2,664,000".
std::string with_commas(long long value);

// Columns padded to their widest cell; the first is left-aligned, the others right-aligned.
// Width counts UTF-8 code points. A row may be shorter than the others; an empty row is a rule.
class Table {
 public:
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void rule() { rows_.emplace_back(); }
  std::string str(std::string_view indent = "  ") const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace orrery
