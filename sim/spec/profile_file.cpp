#include "sim/spec/profile_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/text.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using json::Node;

constexpr int kMostSteps = 16;  // of inheritance; a longer chain is a circle

bool is_object(const Node* n) { return n != nullptr && n->kind == Node::Kind::kObject; }
bool is_string(const Node* n) { return n != nullptr && n->kind == Node::Kind::kString; }

// Members that may name a file of their own.
bool names_profile(std::string_view key) {
  return key == "node" || key == "gpu" || key == "collectives";
}

class Resolver {
 public:
  explicit Resolver(const fs::path& profiles) : profiles_(profiles) {}

  using Pointers = std::vector<std::string>;

  // Returns the members, at any depth, that came whole from files of their own.
  Pointers resolve(Node& member, const fs::path& beside, const std::string& pointer,
                   int steps) const {
    fs::path from = beside;
    if (is_string(&member)) {
      const fs::path file = find(member.string, beside, member.where(pointer));
      member = json::parse_json_file(file.string());
      from = file.parent_path();
    }
    return resolve_members(member, from, pointer, steps);
  }

  Pointers resolve_members(Node& object, const fs::path& from, const std::string& pointer,
                           int steps) const {
    Pointers whole;
    if (!is_object(&object)) return whole;
    for (auto& [key, value] : object.members) {
      if (!names_profile(key)) continue;
      const bool own_file =
          is_string(&value) || (is_object(&value) && value.find("extends") != nullptr);
      const std::string at = json::child_pointer(pointer, key);
      const Pointers inner = resolve(value, from, at, steps);
      if (own_file)
        whole.push_back(at);
      else
        whole.insert(whole.end(), inner.begin(), inner.end());
    }
    if (Node* parent = object.find("extends")) {
      const std::string where = parent->where(json::child_pointer(pointer, "extends"));
      if (!is_string(parent))
        throw InputError({{where, "\"extends\" names the file that the object extends"}});
      if (steps >= kMostSteps)
        throw InputError({{where, fmt::format("\"{}\" extends itself", parent->string)}});
      Node base = *parent;
      resolve(base, from, pointer, steps + 1);
      drop(base, object, pointer);
      merge(base, object, pointer, whole);
      object = std::move(base);
    }
    return whole;
  }

 private:
  fs::path find(const std::string& name, const fs::path& beside, const std::string& where) const {
    for (const fs::path& folder : {beside, profiles_})
      for (const char* suffix : {"", ".json"}) {
        const fs::path p = folder / (name + suffix);
        std::error_code ignored;
        if (fs::is_regular_file(p, ignored)) return p;
      }
    std::vector<std::string> have;
    std::error_code ignored;
    for (const auto& e : fs::directory_iterator((profiles_ / name).parent_path(), ignored))
      have.push_back((fs::path(name).parent_path() / e.path().stem()).string());
    const std::string near = nearest_name(name, have);
    throw InputError(
        {{where,
          fmt::format("no file \"{}\" beside this one or in "
                      "hardware_profiles/{}",
                      name, near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near))}},
        ExitCode::kNoInput);
  }

  static void drop(Node& base, Node& object, const std::string& pointer) {
    const Node* names = object.find("drop");
    if (names == nullptr) return;
    for (const Node& name : names->items) {
      const auto it = std::find_if(base.members.begin(), base.members.end(),
                                   [&](const auto& m) { return m.first == name.string; });
      if (it == base.members.end())
        throw InputError(
            {{name.where(json::child_pointer(pointer, "drop")),
              fmt::format("\"{}\" is no member of what the object extends", name.string)}});
      base.members.erase(it);
    }
    std::erase_if(object.members, [](const auto& m) { return m.first == "drop"; });
  }

  static void merge(Node& base, Node& own, const std::string& pointer, const Pointers& whole) {
    base.file = own.file, base.line = own.line, base.column = own.column;
    for (auto& [key, value] : own.members) {
      if (key == "extends") continue;
      Node* inherited = base.find(key);
      const std::string at = json::child_pointer(pointer, key);
      const bool replace = std::find(whole.begin(), whole.end(), at) != whole.end();
      if (inherited == nullptr)
        base.members.emplace_back(key, std::move(value));
      else if (!replace && is_object(inherited) && is_object(&value) &&
               inherited->find("value") == nullptr && value.find("value") == nullptr)
        merge(*inherited, value, at, whole);
      else
        *inherited = std::move(value);
    }
  }

  const fs::path& profiles_;
};

}  // namespace

void resolve_profile(Node& object, std::string_view key, const fs::path& beside,
                     const fs::path& profiles) {
  if (Node* member = object.find(key))
    Resolver(profiles).resolve(*member, beside, json::child_pointer("", key), 0);
}

Node load_profile(const fs::path& file, const fs::path& profiles) {
  Node n = json::parse_json_file(file.string());
  Resolver(profiles).resolve_members(n, file.parent_path(), "", 0);
  return n;
}

}  // namespace orrery
