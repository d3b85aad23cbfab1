#include "sim/spec/stack.h"

#include <filesystem>

namespace orrery {

const std::string_view kLossKernelNames[4] = {"in_place", "resident", "compiled", "eager"};
const std::string_view kTokenDispatchNames[2] = {"per_node", "per_expert"};

namespace {

using json::Reader;

AllToAllSpec read_all_to_all(Reader r) {
  AllToAllSpec a;
  a.alone_fraction = read_sourced(r, "alone_fraction", {0.001, 1});
  a.overlapped_fraction = read_sourced(r, "overlapped_fraction", {0.001, 1});
  a.forward_fraction.value = 1;
  if (r.has("forward_fraction"))
    a.forward_fraction = read_sourced(r, "forward_fraction", {0.001, 1});
  r.finish();
  return a;
}

CompositeSpec read_composite(Reader r) {
  CompositeSpec c;
  c.kernels = read_sourced(r, "kernels", {1, 1000});
  c.us = read_sourced(r, "us", {0, 1e6});
  c.reference_tokens = read_sourced(r, "reference_tokens", {1, 1e9});
  r.finish();
  return c;
}

std::vector<UnfusedOp> read_unfused_ops(Reader r) {
  std::vector<UnfusedOp> ops;
  for (const std::string& kind : r.keys()) {
    Reader o = r.object(kind);
    ops.push_back({kind, read_sourced(o, "kernels", {1, 1000}),
                   read_sourced(o, "bytes_per_element", {0, 1000})});
    o.finish();
  }
  r.finish();
  return ops;
}

std::vector<KernelRate> read_kernel_rates(Reader r) {
  std::vector<KernelRate> rates;
  for (const std::string& kind : r.keys()) {
    Reader o = r.object(kind);
    rates.push_back({kind, read_sourced(o, "hbm_efficiency", {0.001, 1}),
                     read_sourced(o, "fixed_us", {0, 1000})});
    o.finish();
  }
  r.finish();
  return rates;
}

StepSpeed read_step_speed(Reader r) {
  StepSpeed s;
  const json::Node* matrix = r.raw("matrix");
  if (matrix != nullptr && matrix->file)
    s.profile = std::filesystem::path(*matrix->file).stem().string();
  s.matrix = read_sourced(r, "matrix", {0.1, 2});
  s.memory_bound = read_sourced(r, "memory_bound", {0.1, 2});
  r.finish();
  return s;
}

}  // namespace

StackSpec read_stack(Reader r) {
  StackSpec s;
  s.name = r.string("name");
  s.token_dispatch =
      static_cast<TokenDispatch>(r.choice_or("token_dispatch", 0, kTokenDispatchNames));
  s.communication_sms = read_sourced(r, "communication_sms", {0, 1024});
  s.communication_waits_for_sms = r.boolean_or("communication_waits_for_sms", false);
  s.posts_receives_early = r.boolean_or("posts_receives_early", false);
  s.dispatch = read_all_to_all(r.object("dispatch"));
  s.cached_dispatch = read_all_to_all(r.object("cached_dispatch"));
  s.combine = read_all_to_all(r.object("combine"));
  s.all_to_all_barrier_us = read_sourced(r, "all_to_all_barrier_us", {0, 1e5});
  s.expert_load_cv = read_sourced(r, "expert_load_cv", {0, 10});
  s.router_forward = read_composite(r.object("router_forward"));
  s.router_backward = read_composite(r.object("router_backward"));
  s.expert_layout = read_composite(r.object("expert_layout"));
  s.dispatch_layout = read_composite(r.object("dispatch_layout"));
  s.attention_kernel = r.string_or("attention_kernel", "");
  s.cast_per_linear = r.boolean("cast_per_linear");
  s.separate_projections = r.boolean_or("separate_projections", false);
  s.grouped_wgrad = r.boolean_or("grouped_wgrad", false);
  s.fused_expert_epilogues = r.boolean_or("fused_expert_epilogues", false);
  s.barrier_all_reduces = r.boolean_or("barrier_all_reduces", false);
  s.writes_gradients = r.boolean_or("writes_gradients", false);
  s.casts_in_optimizer = r.boolean_or("casts_in_optimizer", false);
  s.scale_attention_out = r.boolean_or("scale_attention_out", false);
  s.reserved_GiB = read_sourced(r, "reserved_GiB", {0, 1024});
  s.separate_gradient_add = r.boolean_or("separate_gradient_add", false);
  s.blocking_p2p = r.boolean_or("blocking_p2p", false);
  if (r.has("host_issue_us")) s.host_issue_us = read_sourced(r, "host_issue_us", {0, 1000});
  if (r.has("host")) s.host = read_host(r.object("host"));
  if (r.has("kernel_rates")) s.kernel_rates = read_kernel_rates(r.object("kernel_rates"));
  if (r.has("unfused_ops")) s.unfused_ops = read_unfused_ops(r.object("unfused_ops"));
  s.loss_kernel = static_cast<LossKernel>(r.choice_or("loss_kernel", 0, kLossKernelNames));
  s.copies_gathered_weights = r.boolean_or("copies_gathered_weights", false);
  s.keeps_unread_products = r.boolean_or("keeps_unread_products", false);
  s.sums_after_weight_gradients = r.boolean_or("sums_after_weight_gradients", false);
  s.repeats_kv = r.boolean_or("repeats_kv", false);
  s.fp32_ring = r.boolean_or("fp32_ring", false);
  s.dummy_weight_gradients = r.boolean_or("dummy_weight_gradients", false);
  s.expandable_segments = r.boolean_or("expandable_segments", false);
  if (r.has("step_speed")) s.step_speed = read_step_speed(r.object("step_speed"));
  s.collectives = read_collectives(r.object("collectives"));
  r.finish();
  return s;
}

}  // namespace orrery
