#include "sim/base/json_write.h"

#include <nlohmann/json.hpp>

namespace orrery::json {
namespace {

using Json = nlohmann::ordered_json;

Json convert(const Node& n) {
  switch (n.kind) {
    case Node::Kind::kNull:
      return nullptr;
    case Node::Kind::kBool:
      return n.boolean;
    case Node::Kind::kInteger:
      return n.integer;
    case Node::Kind::kNumber:
      return n.number;
    case Node::Kind::kString:
      return n.string;
    case Node::Kind::kArray: {
      Json array = Json::array();
      for (const Node& item : n.items) array.push_back(convert(item));
      return array;
    }
    case Node::Kind::kObject: {
      Json object = Json::object();
      for (const auto& [key, value] : n.members) object[key] = convert(value);
      return object;
    }
  }
  return nullptr;
}

}  // namespace

std::string to_text(const Node& node) { return convert(node).dump(2) + "\n"; }

}  // namespace orrery::json
