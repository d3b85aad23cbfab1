#include "sim/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace orrery {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_letter(char a, char b) { return lower(a) == lower(b); }

// Optimal string alignment distance; three rows of the table are enough for transpositions.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = last[j - 1] + (same_letter(a[i - 1], b[j - 1]) ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitute});
      if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

bool abbreviates(std::string_view word, std::string_view name) {
  if (word.size() < 4 || name.empty() || !same_letter(word[0], name[0])) return false;
  std::size_t matched = 0;
  for (const char c : name) {
    if (matched < word.size() && same_letter(word[matched], c)) ++matched;
  }
  return matched == word.size();
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::vector<std::size_t> column_widths(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    if (row.size() > widths.size()) widths.resize(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], code_points(row[i]));
    }
  }
  return widths;
}

constexpr std::string_view kColumnGap = "  ";

}  // namespace

std::string nearest_name(std::string_view word, std::span<const std::string_view> candidates) {
  std::size_t best = std::max<std::size_t>(1, word.size() / 3) + 1;
  std::string_view found;
  for (const std::string_view name : candidates) {
    const std::size_t longer = std::max(word.size(), name.size());
    if (longer - std::min(word.size(), name.size()) >= best) continue;
    const std::size_t distance = edit_distance(word, name);
    // Two one-letter names are one edit apart and yet have nothing in common.
    if (distance >= best || distance >= longer) continue;
    best = distance;
    found = name;
  }
  if (!found.empty()) return std::string(found);
  for (const std::string_view name : candidates) {
    if (abbreviates(word, name) && (found.empty() || name.size() < found.size())) found = name;
  }
  return std::string(found);
}

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  return nearest_name(word, std::vector<std::string_view>(candidates.begin(), candidates.end()));
}

std::string join_words(std::span<const std::string_view> words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(byte));
      out += code;
    } else {
      out += c;
    }
  }
  return out;
}

std::string in_quotes(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return '"' + escaped(text) + '"';
  std::size_t end = max_bytes;
  while (end > 0 && is_continuation(text[end])) --end;
  return '"' + escaped(text.substr(0, end)) + "...\"";
}

std::string bytes_text(std::size_t bytes) {
  char mib[32];
  std::snprintf(mib, sizeof mib, " bytes (%.1f MiB)", static_cast<double>(bytes) / (1 << 20));
  return with_commas(static_cast<long long>(bytes)) + mib;
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", 100 * fraction); }
std::string signed_percent(double fraction) { return fmt::format("{:+.1f} %", 100 * fraction); }

std::string with_commas(long long value) {
  std::string digits = std::to_string(value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string Table::str(std::string_view indent) const {
  const std::vector<std::size_t> widths = column_widths(rows_);
  std::size_t total = widths.empty() ? 0 : (widths.size() - 1) * kColumnGap.size();
  for (const std::size_t width : widths) total += width;

  std::string text;
  for (const auto& row : rows_) {
    text += indent;
    if (row.empty()) text.append(total, '-');
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::size_t padding = widths[i] - code_points(row[i]);
      if (i > 0) text.append(kColumnGap).append(padding, ' ');
      text += row[i];
      if (i == 0 && row.size() > 1) text.append(padding, ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace orrery
