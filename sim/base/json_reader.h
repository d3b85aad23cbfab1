// Strict reading of JSON: positions, duplicate keys, depth and size limits, unknown keys, ranges.
//
// `parse_json` builds a tree of `Node`s that remember their file, line and column. `Reader` then
// takes typed values out of an object, adds a diagnostic for everything that is wrong, and at
// `finish()` reports the keys nobody asked for, each with the nearest known key.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/error.h"

namespace orrery::json {

constexpr std::size_t kMaxFileBytes = 64u << 20;  // of a configuration file
constexpr int kMaxDepth = 64;

struct Node {
  enum class Kind : uint8_t { kNull, kBool, kInteger, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  int64_t integer = 0;                                // kInteger
  double number = 0;                                  // kInteger and kNumber
  std::string string;                                 // kString
  std::vector<Node> items;                            // kArray
  std::vector<std::pair<std::string, Node>> members;  // kObject, in file order, keys unique

  std::shared_ptr<const std::string> file;  // name for messages; shared by the nodes of a file
  int line = 0;                             // 1-based; 0: not from a file (for example --set)
  int column = 0;

  // Defined out of line: clang 14 cannot instantiate the implicit ones while Node is incomplete.
  Node();
  ~Node();
  Node(const Node&);
  Node(Node&&) noexcept;
  Node& operator=(const Node&);
  Node& operator=(Node&&) noexcept;

  const Node* find(std::string_view key) const;  // member of an object, or nullptr; O(members)
  Node* find(std::string_view key);
  std::string where(std::string_view pointer) const;  // "file:line:column /pointer"
};

const char* kind_name(Node::Kind kind);  // "a number", "an object", ...
// The JSON pointer of a member: "/a" and "b/c" give "/a/b~1c".
std::string child_pointer(std::string_view pointer, std::string_view key);

// Parses one document. Throws InputError naming `file`, line and column on a syntax error, a
// duplicate key, depth over kMaxDepth, text over kMaxFileBytes, or anything after the document.
Node parse_json(std::string_view text, const std::string& file);
// Reads and parses; a missing or unreadable file is an InputError with ExitCode::kNoInput.
Node parse_json_file(const std::string& path);

// Replaces the value at a JSON pointer ("/cluster/node/gpu/name") with `text`, which is JSON or,
// failing that, a bare string (unless it begins like an object, an array or a quoted string: then
// the syntax error is reported). The pointer must name an existing value, since every value that
// can be set is in the files; otherwise throws InputError naming the nearest existing key. A number
// set on a sourced number ({"value": .., "source": ..}) replaces its value, and the source becomes
// "assumed" with the reference "set on the command line".
void set_at_pointer(Node& root, std::string_view pointer, std::string_view text);

struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};
constexpr Range kPositive{std::numeric_limits<double>::min(),
                          std::numeric_limits<double>::infinity()};
constexpr Range kFraction{0.0, 1.0};

// Typed access to one JSON object. Getters named `x` require the key, `x_or` take a default. Each
// returns a usable value even after an error (a number inside its range), so that reading goes on
// and finds the other errors. A reader of something that is not an object reports that once and
// then acts as an empty reader: no key is there, and none is reported missing.
class Reader {
 public:
  // `pointer` is the JSON pointer of `node` ("" at the root). All three must outlive the reader.
  Reader(const Node& node, std::string pointer, Diagnostics& diagnostics);

  bool has(std::string_view key) const;
  double number(std::string_view key, Range range = {});
  double number_or(std::string_view key, double fallback, Range range = {});
  int64_t integer(std::string_view key, Range range = {});
  int64_t integer_or(std::string_view key, int64_t fallback, Range range = {});
  bool boolean(std::string_view key);
  bool boolean_or(std::string_view key, bool fallback);
  std::string string(std::string_view key);
  std::string string_or(std::string_view key, std::string fallback);
  // One of `names`; returns its index (after an error 0, or the fallback). The message lists the
  // names and the nearest one.
  std::size_t choice(std::string_view key, std::span<const std::string_view> names);
  std::size_t choice_or(std::string_view key, std::size_t fallback,
                        std::span<const std::string_view> names);
  // The same of each string of an array; what is none of `names` is left out after an error.
  std::vector<std::size_t> choices(std::string_view key, std::span<const std::string_view> names);
  std::vector<int64_t> integers(std::string_view key, Range range = {});
  std::vector<std::string> strings(std::string_view key);
  // A nested object; an empty reader after an error.
  Reader object(std::string_view key);
  // Calls `f` with a reader for each element of an array of objects; an element of another kind is
  // reported and skipped.
  void objects(std::string_view key, const std::function<void(Reader&)>& f);
  // The raw member, marked as read, or nullptr.
  const Node* raw(std::string_view key);
  // Marks a key as known without reading it (for comments such as "note").
  void ignore(std::string_view key);

  // Records a finding about member `key` of this object (about the object itself when empty).
  // Ignored by an empty reader, whose cause has been reported.
  void fail(std::string_view key, std::string message);
  const std::string& pointer() const { return pointer_; }
  std::string where(std::string_view key) const;  // for cross-field messages

  // Reports unknown keys. Call once, after the last getter.
  void finish();
  // Every member key, in file order (for maps from a name to a value).
  std::vector<std::string> keys() const;

 private:
  Reader(std::string pointer, Diagnostics& diagnostics);  // the empty reader
  const Node* take(std::string_view key, Node::Kind kind, bool required);
  double number_from(const Node* member, std::string_view key, double fallback, Range range);
  int64_t integer_from(const Node* member, std::string_view key, int64_t fallback, Range range);
  std::size_t choice_from(const Node* member, std::string_view key, std::size_t fallback,
                          std::span<const std::string_view> names);

  const Node* node_;  // null in the empty reader
  std::string pointer_;
  Diagnostics* diagnostics_;
  std::vector<std::string> known_;
  mutable std::vector<std::string> absent_;  // that has() was asked for: known too
};

}  // namespace orrery::json
