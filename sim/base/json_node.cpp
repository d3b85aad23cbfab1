// Node, and the replacement of values for --set.
#include <algorithm>

#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery::json {
namespace {

constexpr const char* kSetOption = "--set";

[[noreturn]] void fail_set(std::string_view pointer, const std::string& message) {
  throw InputError({{std::string(kSetOption) + ' ' + escaped(pointer), message}});
}

// A JSON pointer and the part of it that is being looked up.
struct Step {
  std::string_view pointer;
  std::size_t begin;  // of the part, after its '/'
  std::size_t end;

  std::string_view before() const { return pointer.substr(0, begin - 1); }
  std::string_view after() const { return pointer.substr(end); }
  std::string key() const;
};

// The part without its escapes (RFC 6901).
std::string Step::key() const {
  std::string key;
  for (std::size_t i = begin; i < end; ++i) {
    if (pointer[i] != '~') {
      key += pointer[i];
      continue;
    }
    const char code = ++i < end ? pointer[i] : '\0';
    if (code != '0' && code != '1') {
      fail_set(pointer, "found a lone '~'; expected ~0 (for ~) or ~1 (for /)");
    }
    key += code == '0' ? '~' : '/';
  }
  return key;
}

Node& item_at(Node& array, const Step& step) {
  const std::string token = step.key();
  const bool is_index = !token.empty() && token.size() < 10 &&
                        token.find_first_not_of("0123456789") == std::string::npos &&
                        (token == "0" || token[0] != '0');
  const std::size_t index = is_index ? std::stoul(token) : array.items.size();
  if (index < array.items.size()) return array.items[index];
  fail_set(step.pointer,
           "found array index " + in_quotes(token) +
               (array.items.empty() ? ", but the array is empty"
                                    : ", expected 0 to " + std::to_string(array.items.size() - 1)));
}

Node& member_at(Node& object, const Step& step) {
  const std::string key = step.key();
  if (Node* member = object.find(key)) return *member;
  std::vector<std::string> names;
  for (const auto& member : object.members) names.push_back(member.first);
  const std::string near = nearest_name(key, names);
  if (!near.empty()) {
    const std::string meant = child_pointer(step.before(), near) + std::string(step.after());
    fail_set(step.pointer, "no such key; did you mean " + in_quotes(meant) + "?");
  }
  if (names.empty()) fail_set(step.pointer, "no such key; the object is empty");
  for (std::string& name : names) name = in_quotes(name);
  fail_set(step.pointer, "no such key; the keys are " +
                             join_words(std::vector<std::string_view>(names.begin(), names.end())));
}

Node& child_at(Node& parent, const Step& step) {
  if (parent.kind == Node::Kind::kObject) return member_at(parent, step);
  if (parent.kind == Node::Kind::kArray) return item_at(parent, step);
  fail_set(step.pointer, "no such key; " + in_quotes(step.before()) + " is " +
                             kind_name(parent.kind) + ", not an object");
}

void forget_positions(Node& node) {
  node.line = node.column = 0;
  for (Node& item : node.items) forget_positions(item);
  for (auto& member : node.members) forget_positions(member.second);
}

Node string_node(std::string_view text) {
  Node node;
  node.kind = Node::Kind::kString;
  node.string = text;
  node.file = std::make_shared<const std::string>(kSetOption);
  return node;
}

Node parse_value(std::string_view text, std::string_view pointer) {
  try {
    Node node = parse_json(text, kSetOption);
    forget_positions(node);
    return node;
  } catch (const InputError& error) {
    const bool meant_as_json =
        text.starts_with('{') || text.starts_with('[') || text.starts_with('"');
    if (!meant_as_json) return string_node(text);
    fail_set(pointer,
             "cannot read " + in_quotes(text) + ": " + error.diagnostics().front().message);
  }
}

void put_string(Node& object, const char* key, std::string_view text) {
  if (Node* member = object.find(key)) {
    *member = string_node(text);
  } else {
    object.members.emplace_back(key, string_node(text));
  }
}

bool is_number(const Node& node) {
  return node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kNumber;
}

bool is_sourced_number(const Node& node) { return node.find("value") && node.find("source"); }

// A number from the command line must not pass for one that the old source vouches for.
void mark_assumed(Node& sourced) {
  put_string(sourced, "source", "assumed");
  put_string(sourced, "reference", "set on the command line");
}

template <class N>
N* find_member(N& node, std::string_view key) {
  for (auto& member : node.members) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

}  // namespace

Node::Node() = default;
Node::~Node() = default;
Node::Node(const Node&) = default;
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(const Node&) = default;
Node& Node::operator=(Node&&) noexcept = default;

const Node* Node::find(std::string_view key) const { return find_member(*this, key); }

Node* Node::find(std::string_view key) { return find_member(*this, key); }

std::string Node::where(std::string_view pointer) const {
  std::string text = file ? escaped(*file) : "";
  if (line > 0) text += ':' + std::to_string(line) + ':' + std::to_string(column);
  if (!text.empty() && !pointer.empty()) text += ' ';
  return text + escaped(pointer);
}

const char* kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kBool:
      return "true or false";
    case Node::Kind::kInteger:
    case Node::Kind::kNumber:
      return "a number";
    case Node::Kind::kString:
      return "a string";
    case Node::Kind::kArray:
      return "an array";
    case Node::Kind::kObject:
      return "an object";
  }
  return "a value";
}

std::string child_pointer(std::string_view pointer, std::string_view key) {
  std::string text(pointer);
  text += '/';
  for (const char c : key) {
    if (c == '~' || c == '/') {
      text += c == '~' ? "~0" : "~1";
    } else {
      text += c;
    }
  }
  return text;
}

void set_at_pointer(Node& root, std::string_view pointer, std::string_view text) {
  if (!pointer.starts_with('/')) {
    throw InputError({{kSetOption, "found " + in_quotes(pointer) +
                                       ", expected a JSON pointer such as /cluster/name"}});
  }
  Node* parent = nullptr;
  Node* target = &root;
  Step step{pointer, 1, 0};
  for (; step.begin <= pointer.size(); step.begin = step.end + 1) {
    step.end = std::min(pointer.find('/', step.begin), pointer.size());
    parent = target;
    target = &child_at(*parent, step);
  }

  Node value = parse_value(text, pointer);
  const bool number = is_number(value);
  if (number && is_sourced_number(*target)) {
    *target->find("value") = std::move(value);
    return mark_assumed(*target);
  }
  *target = std::move(value);
  if (number && is_sourced_number(*parent) && parent->find("value") == target) {
    mark_assumed(*parent);
  }
}

}  // namespace orrery::json
