// Collects vertices and cables and freezes them; for the builders of topologies.
#pragma once

#include "sim/net/topology.h"

namespace orrery {

class TopologyBuilder {
 public:
  TopologyBuilder(int64_t nodes, int64_t nics);

  uint32_t add_switch(std::string name);
  void cable(uint32_t a, uint32_t b, double GBps, double latency_us);
  Topology freeze();

  const Topology& so_far() const { return topology_; }

 private:
  Topology topology_;
};

}  // namespace orrery
