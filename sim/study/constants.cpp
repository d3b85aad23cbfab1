#include "sim/study/constants.h"

#include <filesystem>
#include <string_view>

namespace orrery {
namespace {

namespace fs = std::filesystem;
using json::Node;

// "gpu/h100_sxm5" of a file below the profiles; "" of another.
std::string profile_of(const Node& n, const fs::path& profiles) {
  if (!n.file) return "";
  const fs::path relative = fs::path(*n.file).lexically_relative(profiles);
  if (relative.empty() || *relative.begin() == "..") return "";
  return fs::path(relative).replace_extension().generic_string();
}

void collect(Node& n, const std::string& path, const fs::path& profiles,
             std::vector<ProfileConstant>& out) {
  if (n.kind != Node::Kind::kObject) return;
  const Node* source = n.find("source");
  if (source != nullptr && source->kind == Node::Kind::kString) {
    const std::string profile = profile_of(n, profiles);
    if (!profile.empty()) out.push_back({&n, profile + ": " + path, source->string});
    return;
  }
  for (auto& [key, child] : n.members)
    collect(child, path.empty() ? key : path + "/" + key, profiles, out);
}

}  // namespace

// Paths begin in the file that has the constant: below the cluster, its node and GPU, ...
std::vector<ProfileConstant> profile_constants(Node& root, const std::string& profiles) {
  std::vector<ProfileConstant> out;
  const auto within = [&](Node* parent, std::string_view inner) {
    if (parent == nullptr || parent->kind != Node::Kind::kObject) return;
    for (auto& [key, child] : parent->members)
      if (key != inner) collect(child, key, profiles, out);
  };
  const auto member = [](Node* n, std::string_view key) {
    return n == nullptr ? nullptr : n->find(key);
  };
  Node* cluster = root.find("cluster");
  Node* node = member(cluster, "node");
  Node* stack = root.find("stack");
  within(cluster, "node");
  within(node, "gpu");
  within(member(node, "gpu"), "");
  within(stack, "collectives");
  within(member(stack, "collectives"), "");
  return out;
}

bool is_number(const Node& n) {
  return n.kind == Node::Kind::kInteger || n.kind == Node::Kind::kNumber;
}

void scale(Node& n, double factor) {
  if (is_number(n)) {
    n.number *= factor;
    n.kind = Node::Kind::kNumber;
  }
  for (Node& item : n.items) scale(item, factor);
  for (auto& [key, child] : n.members) scale(child, factor);
}

}  // namespace orrery
