#include "sim/spec/topology.h"

#include <fmt/format.h>

#include <filesystem>

namespace orrery {

const std::array<std::string_view, 6> kTopologyNames = {
    "full_bisection", "fat_tree", "rail_optimized", "multi_plane", "torus", "edges"};
const std::array<std::string_view, 2> kRoutingNames = {"adaptive", "ecmp"};

namespace {

using json::Reader;

void read_tree(Reader& r, TopologySpec& t) {
  constexpr json::Range kRatio{1, 64};
  t.nodes_per_leaf = r.integer("nodes_per_leaf", {1, 131072});
  t.leaves_per_pod = r.integer_or("leaves_per_pod", 0, {0, 131072});
  if (r.has("leaf_oversubscription"))
    t.leaf_oversubscription = read_sourced(r, "leaf_oversubscription", kRatio).value;
  if (r.has("pod_oversubscription"))
    t.pod_oversubscription = read_sourced(r, "pod_oversubscription", kRatio).value;
  if (t.leaves_per_pod == 0 && t.pod_oversubscription != 1)
    r.fail("pod_oversubscription", "given without leaves_per_pod: two layers have no pods");
}

void read_torus(Reader& r, TopologySpec& t, int64_t nodes) {
  const std::vector<int64_t> dims = r.integers("dimensions", {1, 131072});
  int64_t product = 1;
  for (int64_t d : dims) product *= d;
  if (dims.empty() || dims.size() > t.torus.size() || product != nodes) {
    r.fail("dimensions", fmt::format("expected one to three numbers whose product is the number of "
                                     "nodes, {}; theirs is {}",
                                     nodes, product));
    return;
  }
  for (std::size_t i = 0; i < dims.size(); ++i) t.torus[i] = dims[i];
}

// Beside the file that names it.
std::string beside(const json::Node& name) {
  if (name.file == nullptr) return name.string;
  return (std::filesystem::path(*name.file).parent_path() / name.string).string();
}

}  // namespace

TopologySpec read_topology(Reader r, int64_t nodes, int64_t nics) {
  TopologySpec t;
  t.kind = static_cast<TopologyKind>(r.choice("kind", kTopologyNames));
  t.routing = static_cast<Routing>(r.choice_or("routing", 0, kRoutingNames));
  switch (t.kind) {
    case TopologyKind::kFullBisection:
      break;
    case TopologyKind::kFatTree:
    case TopologyKind::kRailOptimized:
    case TopologyKind::kMultiPlane:
      read_tree(r, t);
      if (t.kind != TopologyKind::kFatTree && nics < 2)
        r.fail("kind", "needs several adapters a node, one per rail or plane");
      break;
    case TopologyKind::kTorus:
      read_torus(r, t, nodes);
      break;
    case TopologyKind::kEdges: {
      r.string("file");
      const json::Node* file = r.raw("file");
      if (file != nullptr) t.edges = beside(*file);
      break;
    }
  }
  r.ignore("note");
  r.finish();
  return t;
}

}  // namespace orrery
