// Nodes and clusters. Bandwidths are per direction; per GPU for NVLink, per adapter for the NICs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "sim/spec/hardware.h"
#include "sim/spec/topology.h"

namespace orrery {

// What carries bytes between nodes: adapters that reach GPU memory, or the host's TCP stack (NCCL's
// socket transport; loopback between processes of one host that count as nodes).
enum class NetworkKind : uint8_t { kRdma, kSocket };
extern const std::string_view kNetworkNames[2];  // "rdma", "socket"

// What links the GPUs of a node. Multicast and reduction in the switch (NVLS) need an NVSwitch and
// Hopper or newer.
enum class GpuLinks : uint8_t { kNvswitch, kNvlinkDirect, kPcie };
extern const std::string_view kGpuLinksNames[3];  // "nvswitch", "nvlink_direct", "pcie"

// A node is an NVLink domain: 8 GPUs of an HGX board, 72 of an NVL72 rack, or the GPUs of a host
// that only PCIe connects.
struct NodeSpec {
  std::string name;
  GpuSpec gpu;
  int64_t gpus = 8;
  // Ranks that take turns on one GPU. Each counts as a GPU of its own in `gpus`, with its part of
  // the memory and all of the rates, of which it gets a turn: kernels take ranks_per_gpu times as
  // long. Turns are of equal length also while others wait, since NCCL's kernels wait on the GPU.
  int64_t ranks_per_gpu = 1;
  GpuLinks links = GpuLinks::kNvswitch;
  // With links "pcie" the file calls these pcie_GBps, pcie_effective_GBps and pcie_latency_us.
  Sourced nvlink_GBps;            // per GPU and direction, line rate
  Sourced nvlink_effective_GBps;  // what large transfers reach
  Sourced nvlink_latency_us;
  // Between one GPU and the host's memory, per direction: line rate, and what large copies reach;
  // and the node's host memory, reads and writes together. 0: the profile does not say.
  Sourced host_link_GBps, host_link_effective_GBps, host_memory_GBps;
  // One core of the host against the x86 core that HostSpec's times are of. Without the key: 1.
  Sourced host_slowdown{1, Source::kAssumed, "", "", ""};
  NetworkKind network = NetworkKind::kRdma;
  int64_t nics = 8;
  Sourced nic_GBps;  // per adapter and direction, line rate

  double memory_per_rank_GiB() const {
    return gpu.hbm_capacity_GiB.value / static_cast<double>(ranks_per_gpu);
  }
  // Of a rank, when all GPUs copy in both directions at once.
  BytesPerSecond host_copy_per_rank() const {
    return from_GBps(std::min(host_link_effective_GBps.value,
                              host_memory_GBps.value / static_cast<double>(2 * gpus)) /
                     static_cast<double>(ranks_per_gpu));
  }
};

struct ClusterSpec {
  std::string name;
  NodeSpec node;
  int64_t nodes = 1;
  Sourced nic_effective_GBps;  // per adapter: what large transfers reach over this fabric
  Sourced latency_us;          // one message across the fabric, end to end
  TopologySpec topology;

  int64_t gpus() const { return nodes * node.gpus; }  // one for each rank
  // What is paid for, and whose peaks count.
  double physical_gpus() const {
    return static_cast<double>(gpus()) / static_cast<double>(node.ranks_per_gpu);
  }
  // Inter-node bandwidth that one GPU can count on when all GPUs of its node send.
  BytesPerSecond network_per_gpu() const {
    return from_GBps(nic_effective_GBps.value * static_cast<double>(node.nics) /
                     static_cast<double>(node.gpus));
  }
  BytesPerSecond nvlink_per_gpu() const { return from_GBps(node.nvlink_effective_GBps.value); }
};

GpuSpec read_gpu(json::Reader r);
NodeSpec read_node(json::Reader r);
ClusterSpec read_cluster(json::Reader r);

}  // namespace orrery
