#include "sim/spec/collectives.h"

#include <fmt/format.h>

namespace orrery {

const std::string_view kAlgorithmNames[kAlgorithms] = {"ring",      "tree", "nvls",
                                                       "nvls_tree", "pat",  "direct"};
const std::string_view kProtocolNames[kProtocols] = {"ll", "ll128", "simple"};
const std::string_view kLinkTypeNames[kLinkTypes] = {"nvlink", "pcie", "network"};

namespace {

using json::Reader;

// A row of numbers; one of another length or kind is reported.
template <std::size_t N>
void read_row(Reader& r, std::string_view key, std::array<double, N>& out) {
  const json::Node* row = r.raw(key);
  bool good = row != nullptr && row->kind == json::Node::Kind::kArray && row->items.size() == N;
  for (std::size_t i = 0; good && i < N; ++i) {
    const json::Node& n = row->items[i];
    good = (n.kind == json::Node::Kind::kNumber || n.kind == json::Node::Kind::kInteger) &&
           n.number >= 0 && n.number <= 1e6;
    if (good) out[i] = n.number;
  }
  if (!good) r.fail(key, fmt::format("expected {} numbers from 0 to 1000000", N));
}

// Every table carries its source: {"source": .., "reference": .., "date": .., rows...}.
void read_source(Reader& t) {
  constexpr std::array<std::string_view, 5> kNames = {"datasheet", "measured", "fitted", "derived",
                                                      "assumed"};
  t.choice("source", kNames);
  t.string("reference");
  t.string_or("date", "");
}

// Rows by name; `all`: each must be there.
template <std::size_t N, std::size_t M>
void read_table(Reader& r, std::string_view key, const std::string_view (&names)[M],
                std::array<std::array<double, N>, M>& out, bool all) {
  Reader t = r.object(key);
  read_source(t);
  for (std::size_t i = 0; i < M; ++i)
    if (all || t.has(names[i])) read_row(t, names[i], out[i]);
  t.finish();
}

void read_per_architecture(Reader& r, std::string_view key,
                           std::array<double, kGpuArchitectures>& out, double max) {
  Reader t = r.object(key);
  read_source(t);
  for (std::size_t i = 0; i < kGpuArchitectures; ++i)
    out[i] = t.number(kGpuArchitectureNames[i], {0, max});
  t.finish();
}

}  // namespace

CollectiveSpec read_collectives(Reader r) {
  CollectiveSpec c;
  c.name = r.string("name");
  read_table(r, "base_latency_us", kAlgorithmNames, c.base_latency_us, false);
  for (std::size_t l = 0; l < kLinkTypes; ++l)
    read_table(r, fmt::format("{}_hop_latency_us", kLinkTypeNames[l]), kAlgorithmNames,
               c.hop_latency_us[l], false);
  read_table(r, "ll_max_GBps", kGpuArchitectureNames, c.ll_max_GBps, true);
  read_table(r, "ring_ll128_channel_GBps", kGpuArchitectureNames, c.ring_ll128_GBps, true);
  read_table(r, "tree_ll128_channel_GBps", kGpuArchitectureNames, c.tree_ll128_GBps, true);
  read_table(r, "tree_channel_GBps", kGpuArchitectureNames, c.tree_GBps, true);
  read_table(r, "nvls_tree_channel_GBps", kGpuArchitectureNames, c.nvls_tree_GBps, true);
  read_table(r, "tree_correction", kProtocolNames, c.tree_correction, true);
  read_per_architecture(r, "nvls_efficiency", c.nvls_efficiency, 1);
  read_per_architecture(r, "nvls_head_GBps", c.nvls_head_GBps, 1000);
  read_per_architecture(r, "p2p_efficiency", c.p2p_efficiency, 1);
  read_per_architecture(r, "channels", c.channels, 64);
  read_per_architecture(r, "nvls_channels", c.nvls_channels, 64);
  read_per_architecture(r, "p2p_channels", c.p2p_channels, 64);
  c.ring_local_steps = read_sourced(r, "ring_local_steps", {0, 2}).value;
  c.ring_plateau = read_sourced(r, "ring_plateau", {1, 10}).value;
  c.network_overhead_us = read_sourced(r, "network_overhead_us", {0, 100}).value;
  c.pat_efficiency = read_sourced(r, "pat_efficiency", json::kFraction).value;
  c.p2p_latency_us = read_sourced(r, "p2p_latency_us", {0, 1000}).value;
  r.finish();
  return c;
}

}  // namespace orrery
