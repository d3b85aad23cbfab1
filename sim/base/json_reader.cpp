#include "sim/base/json_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "sim/base/text.h"

namespace orrery::json {
namespace {

std::string number_text(double value) {
  char text[64];
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e15);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::general;
  return std::string(text, std::to_chars(text, text + sizeof text, value, format).ptr);
}

std::string found_text(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kInteger:
      return "found " + std::to_string(node.integer);
    case Node::Kind::kNumber:
      return "found " + number_text(node.number);
    case Node::Kind::kBool:
      return node.boolean ? "found true" : "found false";
    default:
      return std::string("found ") + kind_name(node.kind);
  }
}

std::string range_text(Range range) {
  if (range.min == kPositive.min && std::isinf(range.max)) return "more than 0";
  if (std::isinf(range.max)) return "at least " + number_text(range.min);
  if (std::isinf(range.min)) return "at most " + number_text(range.max);
  if (range.min == kPositive.min) return "more than 0 and at most " + number_text(range.max);
  return number_text(range.min) + " to " + number_text(range.max);
}

bool inside(double value, Range range) { return value >= range.min && value <= range.max; }

// The value to go on with after an error: 1 harms no later division.
double stand_in(Range range) { return std::clamp(1.0, range.min, range.max); }

int64_t saturated(double value) {
  constexpr double kLimit = 9223372036854775808.0;
  if (value >= kLimit) return std::numeric_limits<int64_t>::max();
  if (value < -kLimit) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

bool is_integral(const Node& node) {
  return node.kind == Node::Kind::kInteger ||
         (node.kind == Node::Kind::kNumber && std::trunc(node.number) == node.number &&
          static_cast<double>(saturated(node.number)) == node.number && node.number < 0x1p63);
}

bool has_kind(const Node& node, Node::Kind kind) {
  const bool number = kind == Node::Kind::kInteger || kind == Node::Kind::kNumber;
  if (number) return node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kNumber;
  return node.kind == kind;
}

std::string expected_text(Node::Kind kind) {
  return std::string(", expected ") +
         (kind == Node::Kind::kInteger ? "an integer" : kind_name(kind));
}

// Takes an integer out of a node. `problem` is set, and the result made usable, when it is wrong.
int64_t integer_in(const Node& node, Range range, std::string& problem) {
  if (!is_integral(node)) {
    problem = found_text(node) + expected_text(Node::Kind::kInteger);
    if (std::isfinite(range.min) || std::isfinite(range.max)) problem += ", " + range_text(range);
    return saturated(std::ceil(stand_in(range)));
  }
  if (!inside(node.number, range)) {
    problem = found_text(node) + ", expected " + range_text(range);
    return node.number < range.min ? saturated(std::ceil(range.min))
                                   : saturated(std::floor(range.max));
  }
  return node.kind == Node::Kind::kInteger ? node.integer : saturated(node.number);
}

std::string join_quoted(std::span<const std::string_view> names) {
  std::vector<std::string> texts;
  for (const std::string_view name : names) texts.push_back(in_quotes(name));
  return join_words(std::vector<std::string_view>(texts.begin(), texts.end()));
}

// "; did you mean ..?" or, when no name is near, what could have been meant.
std::string suggestion(std::string_view word, std::span<const std::string_view> names,
                       const char* otherwise) {
  const std::string near = nearest_name(word, names);
  if (!near.empty()) return "; did you mean " + in_quotes(near) + "?";
  return names.empty() ? "" : otherwise + join_quoted(names);
}

std::string no_choice(std::string_view text, std::span<const std::string_view> names) {
  const std::string near = nearest_name(text, names);
  return "found " + in_quotes(text) + ", expected one of " + join_quoted(names) +
         (near.empty() ? "" : "; did you mean " + in_quotes(near) + "?");
}

}  // namespace

Reader::Reader(const Node& node, std::string pointer, Diagnostics& diagnostics)
    : node_(&node), pointer_(std::move(pointer)), diagnostics_(&diagnostics) {
  if (node.kind == Node::Kind::kObject) return;
  fail("", found_text(node) + expected_text(Node::Kind::kObject));
  node_ = nullptr;
}

Reader::Reader(std::string pointer, Diagnostics& diagnostics)
    : node_(nullptr), pointer_(std::move(pointer)), diagnostics_(&diagnostics) {}

bool Reader::has(std::string_view key) const {
  if (node_ && node_->find(key)) return true;
  absent_.emplace_back(key);
  return false;
}

void Reader::ignore(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
}

const Node* Reader::raw(std::string_view key) {
  ignore(key);
  return node_ ? node_->find(key) : nullptr;
}

const Node* Reader::take(std::string_view key, Node::Kind kind, bool required) {
  const Node* member = raw(key);
  if (member == nullptr) {
    if (required) fail("", "missing key " + in_quotes(key));
    return nullptr;
  }
  if (has_kind(*member, kind)) return member;
  fail(key, found_text(*member) + expected_text(kind));
  return nullptr;
}

double Reader::number_from(const Node* member, std::string_view key, double fallback, Range range) {
  if (member == nullptr) return fallback;
  if (inside(member->number, range)) return member->number;
  fail(key, found_text(*member) + ", expected " + range_text(range));
  return std::clamp(member->number, range.min, range.max);
}

double Reader::number(std::string_view key, Range range) {
  return number_from(take(key, Node::Kind::kNumber, true), key, stand_in(range), range);
}

double Reader::number_or(std::string_view key, double fallback, Range range) {
  return number_from(take(key, Node::Kind::kNumber, false), key, fallback, range);
}

int64_t Reader::integer_from(const Node* member, std::string_view key, int64_t fallback,
                             Range range) {
  if (member == nullptr) return fallback;
  std::string problem;
  const int64_t value = integer_in(*member, range, problem);
  if (!problem.empty()) fail(key, problem);
  return value;
}

int64_t Reader::integer(std::string_view key, Range range) {
  const int64_t fallback = saturated(std::ceil(stand_in(range)));
  return integer_from(take(key, Node::Kind::kInteger, true), key, fallback, range);
}

int64_t Reader::integer_or(std::string_view key, int64_t fallback, Range range) {
  return integer_from(take(key, Node::Kind::kInteger, false), key, fallback, range);
}

bool Reader::boolean(std::string_view key) {
  const Node* member = take(key, Node::Kind::kBool, true);
  return member && member->boolean;
}

bool Reader::boolean_or(std::string_view key, bool fallback) {
  const Node* member = take(key, Node::Kind::kBool, false);
  return member ? member->boolean : fallback;
}

std::string Reader::string(std::string_view key) {
  const Node* member = take(key, Node::Kind::kString, true);
  return member ? member->string : "";
}

std::string Reader::string_or(std::string_view key, std::string fallback) {
  const Node* member = take(key, Node::Kind::kString, false);
  return member ? member->string : std::move(fallback);
}

std::size_t Reader::choice_from(const Node* member, std::string_view key, std::size_t fallback,
                                std::span<const std::string_view> names) {
  if (member == nullptr) return fallback;
  const auto name = std::find(names.begin(), names.end(), member->string);
  if (name != names.end()) return static_cast<std::size_t>(name - names.begin());
  fail(key, no_choice(member->string, names));
  return fallback;
}

std::size_t Reader::choice(std::string_view key, std::span<const std::string_view> names) {
  return choice_from(take(key, Node::Kind::kString, true), key, 0, names);
}

std::size_t Reader::choice_or(std::string_view key, std::size_t fallback,
                              std::span<const std::string_view> names) {
  return choice_from(take(key, Node::Kind::kString, false), key, fallback, names);
}

std::vector<int64_t> Reader::integers(std::string_view key, Range range) {
  std::vector<int64_t> values;
  const Node* array = take(key, Node::Kind::kArray, true);
  for (std::size_t i = 0; array && i < array->items.size(); ++i) {
    std::string problem;
    values.push_back(integer_in(array->items[i], range, problem));
    if (problem.empty()) continue;
    const std::string pointer = child_pointer(child_pointer(pointer_, key), std::to_string(i));
    diagnostics_->add(array->items[i].where(pointer), problem);
  }
  return values;
}

std::vector<std::string> Reader::strings(std::string_view key) {
  std::vector<std::string> values;
  const Node* array = take(key, Node::Kind::kArray, true);
  for (std::size_t i = 0; array && i < array->items.size(); ++i) {
    const Node& item = array->items[i];
    values.push_back(item.string);
    if (item.kind == Node::Kind::kString) continue;
    const std::string pointer = child_pointer(child_pointer(pointer_, key), std::to_string(i));
    diagnostics_->add(item.where(pointer), found_text(item) + expected_text(Node::Kind::kString));
  }
  return values;
}

std::vector<std::size_t> Reader::choices(std::string_view key,
                                         std::span<const std::string_view> names) {
  std::vector<std::size_t> chosen;
  std::size_t i = 0;
  for (const std::string& text : strings(key)) {
    const std::string pointer = child_pointer(child_pointer(pointer_, key), std::to_string(i));
    const Node& item = node_->find(key)->items[i++];
    const auto name = std::find(names.begin(), names.end(), text);
    if (name != names.end())
      chosen.push_back(static_cast<std::size_t>(name - names.begin()));
    else if (item.kind == Node::Kind::kString)
      diagnostics_->add(item.where(pointer), no_choice(text, names));
  }
  return chosen;
}

Reader Reader::object(std::string_view key) {
  const Node* member = take(key, Node::Kind::kObject, true);
  std::string pointer = child_pointer(pointer_, key);
  if (member == nullptr) return Reader(std::move(pointer), *diagnostics_);
  return Reader(*member, std::move(pointer), *diagnostics_);
}

void Reader::objects(std::string_view key, const std::function<void(Reader&)>& f) {
  const Node* array = take(key, Node::Kind::kArray, true);
  for (std::size_t i = 0; array && i < array->items.size(); ++i) {
    const std::string pointer = child_pointer(child_pointer(pointer_, key), std::to_string(i));
    Reader reader(array->items[i], pointer, *diagnostics_);
    if (reader.node_) f(reader);
  }
}

std::string Reader::where(std::string_view key) const {
  std::string pointer = key.empty() ? pointer_ : child_pointer(pointer_, key);
  if (node_ == nullptr) return pointer;
  const Node* member = key.empty() ? nullptr : node_->find(key);
  return (member ? member : node_)->where(pointer);
}

void Reader::fail(std::string_view key, std::string message) {
  if (node_) diagnostics_->add(where(key), std::move(message));
}

void Reader::finish() {
  if (node_ == nullptr) return;
  std::vector<std::string_view> known(known_.begin(), known_.end());
  for (const std::string& key : absent_)
    if (std::find(known.begin(), known.end(), key) == known.end()) known.push_back(key);
  for (const auto& [key, value] : node_->members) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    fail(key, "unknown key " + in_quotes(key) + suggestion(key, known, "; the known keys are "));
  }
}

std::vector<std::string> Reader::keys() const {
  std::vector<std::string> names;
  if (node_ == nullptr) return names;
  for (const auto& member : node_->members) names.push_back(member.first);
  return names;
}

}  // namespace orrery::json
