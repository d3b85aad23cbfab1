#include "sim/spec/cluster.h"

#include <fmt/format.h>

namespace orrery {

const std::string_view kNetworkNames[2] = {"rdma", "socket"};
const std::string_view kGpuLinksNames[3] = {"nvswitch", "nvlink_direct", "pcie"};

namespace {

using json::Range;
using json::Reader;

// Bounds of today's and tomorrow's hardware. Their purpose is to catch a wrong unit or a total
// given as a share, so NVLink's and the adapters' are hardly wider than the 8 GPUs of a node.
constexpr Range kPcieGBps{5, 128};       // Gen3 x8 to Gen6 x16
constexpr Range kNicGBps{10, 105};       // 100 to 800 Gb/s adapters
constexpr Range kSocketGBps{0.1, 12.5};  // what TCP makes of up to 100 Gb/s

constexpr Range kHostLinkGBps{5, 500};       // PCIe Gen3 x8 to NVLink-C2C
constexpr Range kHostMemoryGBps{10, 40000};  // of a desktop to a rack

// NVLink 2 to 5: links of 25 (50 from Blackwell on) GB/s a direction, 6, 12 or 18 of them.
Range nvlink_range(GpuArchitecture a) {
  constexpr double kMost[kGpuArchitectures] = {150, 300, 450, 900};
  return {50, kMost[static_cast<std::size_t>(a)] * 1.05};
}

// A bandwidth outside its range is most often a node's total, both directions together or a bit
// rate; say which fits. Datasheets give NVLink for both directions.
void explain_bandwidth(Reader& r, std::string_view key, const Sourced& s, Range range,
                       int64_t sharers, std::string_view per) {
  if (s.value <= 0 || (s.value >= range.min && s.value <= range.max)) return;
  const auto fits = [&](double v) { return v >= range.min && v <= range.max; };
  const double n = static_cast<double>(sharers);
  std::string hint;
  if (per == "GPU" && fits(s.value / 2))
    hint = fmt::format(
        "; it looks like both directions together, as datasheets give it: did you "
        "mean {:g}?",
        s.value / 2);
  else if (fits(s.value / n))
    hint = fmt::format("; it looks like the node's total: did you mean {:g}?", s.value / n);
  else if (fits(s.value * n))
    hint = fmt::format("; it looks like a share of one {}'s: did you mean {:g}?", per, s.value * n);
  else if (fits(s.value / 8))
    hint = fmt::format("; it looks like Gb/s: did you mean {:g} GB/s?", s.value / 8);
  r.fail(key, fmt::format("found {:g}, implausible per {} and direction (expected {:g} to {:g} "
                          "GB/s){}",
                          s.value, per, range.min, range.max, hint));
}

// All three or none.
void read_host(Reader& r, NodeSpec& n) {
  if (!r.has("host_link_GBps") && !r.has("host_link_effective_GBps") && !r.has("host_memory_GBps"))
    return;
  n.host_link_GBps = read_sourced(r, "host_link_GBps", json::kPositive);
  n.host_link_effective_GBps = read_sourced(r, "host_link_effective_GBps", json::kPositive);
  n.host_memory_GBps = read_sourced(r, "host_memory_GBps", kHostMemoryGBps);
  explain_bandwidth(r, "host_link_GBps", n.host_link_GBps, kHostLinkGBps, n.gpus, "GPU");
  if (n.host_link_effective_GBps.value > n.host_link_GBps.value)
    r.fail("host_link_effective_GBps",
           fmt::format("{:g} exceeds the line rate host_link_GBps {:g}",
                       n.host_link_effective_GBps.value, n.host_link_GBps.value));
}

}  // namespace

NodeSpec read_node(Reader r) {
  NodeSpec n;
  n.name = r.string("name");
  n.gpu = read_gpu(r.object("gpu"));
  n.gpus = r.integer("gpus", {1, 576});
  n.ranks_per_gpu = r.integer_or("ranks_per_gpu", 1, {1, 64});
  n.links = static_cast<GpuLinks>(r.choice_or("links", 0, kGpuLinksNames));
  const bool pcie = n.links == GpuLinks::kPcie;
  const std::string line = pcie ? "pcie_GBps" : "nvlink_GBps";
  const std::string effective = pcie ? "pcie_effective_GBps" : "nvlink_effective_GBps";
  n.nvlink_GBps = read_sourced(r, line, json::kPositive);
  n.nvlink_effective_GBps = read_sourced(r, effective, json::kPositive);
  n.nvlink_latency_us = read_sourced(r, pcie ? "pcie_latency_us" : "nvlink_latency_us", {0, 1000});
  read_host(r, n);
  if (r.has("host_slowdown")) n.host_slowdown = read_sourced(r, "host_slowdown", {0.1, 10});
  n.network = static_cast<NetworkKind>(r.choice_or("network", 0, kNetworkNames));
  n.nics = r.integer("nics", {1, 576});
  n.nic_GBps = read_sourced(r, "nic_GBps", json::kPositive);
  explain_bandwidth(r, line, n.nvlink_GBps, pcie ? kPcieGBps : nvlink_range(n.gpu.architecture),
                    n.gpus, "GPU");
  explain_bandwidth(r, "nic_GBps", n.nic_GBps,
                    n.network == NetworkKind::kRdma ? kNicGBps : kSocketGBps, n.nics, "adapter");
  if (n.nvlink_effective_GBps.value > n.nvlink_GBps.value)
    r.fail(effective, fmt::format("{:g} exceeds the line rate {} {:g}",
                                  n.nvlink_effective_GBps.value, line, n.nvlink_GBps.value));
  r.finish();
  return n;
}

ClusterSpec read_cluster(Reader r) {
  ClusterSpec c;
  c.name = r.string("name");
  c.node = read_node(r.object("node"));
  c.nodes = r.integer("nodes", {1, 131072});
  if (c.gpus() % c.node.ranks_per_gpu != 0)
    r.fail("nodes", fmt::format("{} ranks do not fill GPUs that {} ranks share (ranks_per_gpu)",
                                c.gpus(), c.node.ranks_per_gpu));
  c.nic_effective_GBps = read_sourced(r, "nic_effective_GBps", json::kPositive);
  // Processes that take turns on a GPU wait for each other's.
  c.latency_us = read_sourced(r, "latency_us", {0, c.node.ranks_per_gpu > 1 ? 100'000.0 : 1'000.0});
  if (c.nic_effective_GBps.value > c.node.nic_GBps.value)
    r.fail("nic_effective_GBps", fmt::format("{:g} exceeds the adapter's line rate nic_GBps {:g}",
                                             c.nic_effective_GBps.value, c.node.nic_GBps.value));
  if (r.has("topology")) c.topology = read_topology(r.object("topology"), c.nodes, c.node.nics);
  r.ignore("fabric");
  r.finish();
  return c;
}

}  // namespace orrery
