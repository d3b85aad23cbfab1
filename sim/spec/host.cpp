#include "sim/spec/host.h"

namespace orrery {

const std::string_view kHostGraphsNames[5] = {"none", "router", "attention", "attention_and_router",
                                              "iteration"};

namespace {

constexpr json::Range kMicros{0, 1e4};

HostOperators read_operators(json::Reader r) {
  HostOperators o;
  o.product = read_sourced(r, "product", kMicros);
  o.norm = read_sourced(r, "norm", kMicros);
  o.activation = read_sourced(r, "activation", kMicros);
  o.elementwise = read_sourced(r, "elementwise", kMicros);
  r.finish();
  return o;
}

}  // namespace

HostSpec read_host(json::Reader r) {
  HostSpec h;
  h.scale = read_sourced(r, "scale", {0.1, 100});
  h.kernel_us = read_sourced(r, "kernel_us", kMicros);
  h.expert_us = read_sourced(r, "expert_us", kMicros);
  h.forward_us = read_operators(r.object("forward_us"));
  h.backward_us = read_operators(r.object("backward_us"));
  h.counts_wait_us = read_sourced(r, "counts_wait_us", kMicros);
  h.graphs = static_cast<HostGraphs>(r.choice_or("graphs", 0, kHostGraphsNames));
  r.finish();
  return h;
}

}  // namespace orrery
