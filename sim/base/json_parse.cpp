// Builds the Node tree from nlohmann's SAX events and words its syntax errors.
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "sim/base/file.h"
#include "sim/base/json_reader.h"
#include "sim/base/json_syntax.h"
#include "sim/base/text.h"

namespace orrery::json {
namespace {

// Tells how far the parser has read, which the SAX interface does not.
class CountingIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator() = default;
  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() { return *furthest_ = ++at_, *this; }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& o) const { return at_ == o.at_; }
  bool operator!=(const CountingIterator& o) const { return at_ != o.at_; }

 private:
  const char* at_ = nullptr;
  const char** furthest_ = nullptr;
};

class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, const std::string& file)
      : text_(text),
        file_(std::make_shared<const std::string>(file)),
        furthest_(text.data()),
        cursor_(text),
        token_end_(cursor_.offset()) {}

  Node build() {
    nlohmann::json::sax_parse(CountingIterator(text_.data(), &furthest_),
                              CountingIterator(text_.data() + text_.size(), &furthest_), this);
    // A NUL byte passes for the end of the input.
    const Expectation expected = find_unexpected();
    if (!cursor_.rest().empty()) fail(describe_unexpected(cursor_.rest(), expected));
    diagnostics_.throw_if_any();
    return std::move(root_);
  }

  bool null() override { return add(Node::Kind::kNull), true; }
  bool boolean(bool value) override { return add(Node::Kind::kBool).boolean = value, true; }
  bool number_integer(int64_t value) override {
    Node& node = add(Node::Kind::kInteger);
    node.integer = value;
    node.number = static_cast<double>(value);
    return end_number(integer_length(cursor_.rest()));
  }
  bool number_unsigned(uint64_t value) override {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return number_integer(static_cast<int64_t>(value));
    }
    add(Node::Kind::kNumber).number = static_cast<double>(value);
    return end_number(integer_length(cursor_.rest()));
  }
  bool number_float(double value, const std::string& token) override {
    add(Node::Kind::kNumber).number = value;
    return end_number(token.size());
  }
  bool string(std::string& value) override {
    return add(Node::Kind::kString).string = std::move(value), true;
  }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // never in JSON text

  bool start_object(std::size_t) override { return open(Node::Kind::kObject); }
  bool start_array(std::size_t) override { return open(Node::Kind::kArray); }
  bool end_array() override { return close(); }
  bool end_object() override {
    report_duplicates(*open_.back());
    return close();
  }
  bool key(std::string& value) override {
    key_ = std::move(value);
    has_key_ = true;
    return end_token();
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    const Expectation expected = find_unexpected();
    const std::string_view rest = cursor_.rest();
    constexpr int kNumberOverflow = 406;  // nlohmann's out_of_range.406
    if (error.id == kNumberOverflow) fail(describe_overflow(rest));
    if (rest.empty() && !has_root_) fail("the file is empty; expected a JSON value");
    // The parser counts the end of the input as one more character.
    const bool after_root = has_root_ && open_.empty();
    if (rest.empty() || (position > text_.size() && !after_root)) {
      const bool in_array = !open_.empty() && open_.back()->kind == Node::Kind::kArray;
      cursor_.advance(text_.size());
      fail(describe_end(rest, in_array ? "an array" : "an object", expected));
    }
    if (rest.starts_with('"')) fail_if_bad_string(error.what());
    fail(describe_unexpected(rest, expected));
  }

 private:
  bool end_token() {
    token_end_ = static_cast<std::size_t>(furthest_ - text_.data());
    return true;
  }
  // The parser reads one character past a number, unless the text ends there.
  bool end_number(std::size_t length) {
    token_end_ = cursor_.offset() + length;
    return true;
  }

  // Adds the value whose token was just read.
  Node& add(Node::Kind kind) {
    cursor_.advance(token_end_);
    cursor_.skip_space();
    cursor_.skip(has_key_ ? ':' : ',');
    Node* node = &root_;
    if (!open_.empty() && open_.back()->kind == Node::Kind::kArray) {
      node = &open_.back()->items.emplace_back();
    } else if (!open_.empty()) {
      node = &open_.back()->members.emplace_back(std::move(key_), Node{}).second;
    }
    node->kind = kind;
    node->file = file_;
    node->line = cursor_.line();
    node->column = cursor_.column();
    has_key_ = false;
    has_root_ = true;
    end_token();
    return *node;
  }
  // Pointers to open nodes stay valid: only the innermost container grows.
  bool open(Node::Kind kind) {
    Node& node = add(kind);
    if (open_.size() == static_cast<std::size_t>(kMaxDepth)) {
      fail("found more than " + std::to_string(kMaxDepth) +
           " nested arrays and objects, expected at most " + std::to_string(kMaxDepth));
    }
    open_.push_back(&node);
    return true;
  }
  bool close() {
    open_.pop_back();
    return end_token();
  }

  // Sorts, because looking every key up would take quadratic time in a large object.
  void report_duplicates(const Node& object) {
    using Member = const std::pair<std::string, Node>*;
    std::vector<Member> sorted;
    sorted.reserve(object.members.size());
    for (const auto& member : object.members) sorted.push_back(&member);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](Member a, Member b) { return a->first < b->first; });
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i]->first != sorted[i - 1]->first) continue;
      const Node& earlier = sorted[i - 1]->second;
      diagnostics_.add(sorted[i]->second.where(""),
                       "duplicate key " + in_quotes(sorted[i]->first) + ", found before at line " +
                           std::to_string(earlier.line) + " column " +
                           std::to_string(earlier.column) + "; remove one of the two");
    }
  }

  // Moves to the text after the last good token and says what could have stood there.
  Expectation find_unexpected() {
    cursor_.advance(token_end_);
    cursor_.skip_space();
    if (open_.empty()) return {has_root_ ? "the end of the file" : "a JSON value", !has_root_};
    const Node& container = *open_.back();
    if (container.kind == Node::Kind::kArray) {
      if (container.items.empty()) return {"a value or ']'", true};
      if (cursor_.skip(',')) return {"a value", true, true};
      return {"',' or ']'"};
    }
    if (has_key_ && cursor_.skip(':')) return {"a value", true};
    if (has_key_) return {"':' after a key"};
    if (container.members.empty()) return {"a key in double quotes or '}'"};
    if (cursor_.skip(',')) return {"a key in double quotes", false, true};
    return {"',' or '}'"};
  }

  // The lexer's words for what is wrong in a string are good; the rest of its message is not.
  void fail_if_bad_string(std::string_view what) {
    constexpr std::string_view kPrefix = "invalid string: ";
    const std::size_t begin = what.find(kPrefix);
    if (begin == std::string_view::npos) return;
    what.remove_prefix(begin + kPrefix.size());
    what = what.substr(0, what.find("; last read"));
    if (furthest_[-1] == '\n' || furthest_[-1] == '\r') {
      fail(
          "the string does not end on its line; expected a closing '\"' (a line break in a string "
          "is written \\n)");
    }
    cursor_.advance(static_cast<std::size_t>(furthest_ - text_.data()) - 1);
    fail("invalid string: " + std::string(what));
  }

  [[noreturn]] void fail(std::string message) {
    Node here;
    here.file = file_;
    here.line = cursor_.line();
    here.column = cursor_.column();
    diagnostics_.add(here.where(""), std::move(message));
    diagnostics_.throw_if_any();
    std::abort();  // not reached: there is a diagnostic
  }

  std::string_view text_;
  std::shared_ptr<const std::string> file_;
  const char* furthest_;  // how far the parser has read
  TextCursor cursor_;
  std::size_t token_end_;  // of the last good token
  Node root_;
  bool has_root_ = false;
  std::vector<Node*> open_;  // the containers around the next token
  std::string key_;
  bool has_key_ = false;
  Diagnostics diagnostics_;
};

}  // namespace

Node parse_json(std::string_view text, const std::string& file) {
  if (text.size() > kMaxFileBytes) {
    throw InputError({{file, "the file is too large: found " + bytes_text(text.size()) +
                                 ", expected at most " + bytes_text(kMaxFileBytes)}});
  }
  return TreeBuilder(text, file).build();
}

Node parse_json_file(const std::string& path) {
  return parse_json(read_file(path, kMaxFileBytes), path);
}

}  // namespace orrery::json
