#include "sim/net/topology_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace orrery {
namespace {

// Positions of the links sorted by an endpoint, and where each vertex begins.
void index(const std::vector<TopologyLink>& links, uint32_t vertices, uint32_t TopologyLink::*end,
           std::vector<uint32_t>& order, std::vector<uint32_t>& first) {
  order.resize(links.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return links[a].*end < links[b].*end; });
  first.assign(vertices + 1, 0);
  for (const TopologyLink& l : links) ++first[l.*end + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
}

}  // namespace

TopologyBuilder::TopologyBuilder(int64_t nodes, int64_t nics) {
  topology_.nics = nics;
  topology_.adapters = static_cast<uint32_t>(nodes * nics);
  for (int64_t n = 0; n < nodes; ++n)
    for (int64_t i = 0; i < nics; ++i) topology_.names.push_back(fmt::format("n{}.{}", n, i));
}

uint32_t TopologyBuilder::add_switch(std::string name) {
  topology_.names.push_back(std::move(name));
  return topology_.vertices() - 1;
}

void TopologyBuilder::cable(uint32_t a, uint32_t b, double GBps, double latency_us) {
  topology_.links.push_back({a, b, GBps, latency_us});
  topology_.links.push_back({b, a, GBps, latency_us});
}

Topology TopologyBuilder::freeze() {
  std::vector<uint32_t> order;
  index(topology_.links, topology_.vertices(), &TopologyLink::from, order, topology_.first_link);
  std::vector<TopologyLink> sorted;
  for (uint32_t l : order) sorted.push_back(topology_.links[l]);
  topology_.links = std::move(sorted);
  index(topology_.links, topology_.vertices(), &TopologyLink::to, topology_.reverse,
        topology_.first_reverse);
  return std::move(topology_);
}

}  // namespace orrery
