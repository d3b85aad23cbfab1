// Routing and the reordering of rows around the experts.
#include "kernels/moe/dispatch.h"
#include "kernels/moe/layout.h"
#include "kernels/moe/permute.h"
#include "kernels/moe/router.h"
#include "runtime/cuda/op_call.h"

namespace orrery {
namespace {

void router(CudaOpCall& c) {
  launch_check(kernels::router({.config = c.numerics.router,
                                .tokens = c.tokens(),
                                .logits = c.in[0]->f32(),
                                .bias = c.config.model.router.bias ? c.weight.f32 : nullptr,
                                .routing = c.out[0]->i32(),
                                .load = c.load},
                               c.stream));
}

void router_backward(CudaOpCall& c) {
  launch_check(kernels::router_backward({.config = c.numerics.router,
                                         .tokens = c.tokens(),
                                         .logits = c.in[0]->f32(),
                                         .routing = c.in[1]->i32(),
                                         .dweights = c.in[2]->f32(),
                                         .dlogits = c.out[0]->bf16()},
                                        c.stream));
}

void expert_layout(CudaOpCall& c) {
  kernels::ExpertLayoutParams p;
  p.arrived = c.routing->gathered();
  p.k = c.top_k();
  p.local_experts = c.local_experts;
  p.align = kExpertRowAlignment;
  p.capacity = c.routing->expanded;
  p.routing = c.in[0]->i32();
  // Arrived routing has local ids; that of a rank alone is the same with all experts local.
  p.ld_routing = c.in[0]->cols;
  p.out = c.expert_layout(*c.out[0]);
  p.workspace_bytes = kernels::expert_layout_workspace(p.arrived, p.k, p.local_experts);
  p.workspace = c.scratch.get(p.workspace_bytes);
  launch_check(kernels::expert_layout(p, c.stream));
}

void dispatch_layout(CudaOpCall& c) {
  kernels::DispatchLayoutParams p;
  p.tokens = c.tokens();
  p.k = c.top_k();
  p.ranks = c.ranks;
  p.local_experts = c.local_experts;
  p.routing = c.in[0]->i32();
  p.out = c.dispatch_layout(*c.out[0]);
  p.workspace_bytes = kernels::dispatch_layout_workspace(p.tokens, p.k, p.ranks);
  p.workspace = c.scratch.get(p.workspace_bytes);
  launch_check(kernels::dispatch_layout(p, c.stream));
}

void permute(CudaOpCall& c) {
  const kernels::ExpertLayout layout = c.expert_layout(*c.in[1]);
  kernels::PermuteParams p;
  p.capacity = c.out[0]->rows;
  p.cols = c.out[0]->cols;
  p.k = c.top_k();
  p.row_slot = layout.row_slot;
  p.slot_row = layout.slot_row;
  p.arrived = c.in[0]->rows;
  p.rows = layout.offsets + c.local_experts;
  if (c.fp8()) {
    p.x8 = fp8_rows(*c.in[0]);
    p.out8 = fp8_rows(*c.out[0]);
  } else {
    p.x = c.in[0]->bf16();
    p.out = c.out[0]->bf16();
  }
  launch_check(kernels::permute(p, c.stream));
}

void unpermute(CudaOpCall& c) {
  const kernels::ExpertLayout layout = c.expert_layout(*c.in[1]);
  launch_check(kernels::unpermute({.arrived = c.out[0]->rows,
                                   .cols = c.out[0]->cols,
                                   .k = c.top_k(),
                                   .slot_row = layout.slot_row,
                                   .weights = c.shape().index == 1 ? layout.row_weight : nullptr,
                                   .y = c.in[0]->bf16(),
                                   .out = c.out[0]->bf16()},
                                  c.stream));
}

}  // namespace

bool launch_moe_op(CudaOpCall& c) {
  switch (c.op.kind) {
    case OpKind::kRouter:
      return router(c), true;
    case OpKind::kRouterBackward:
      return router_backward(c), true;
    case OpKind::kExpertLayout:
      return expert_layout(c), true;
    case OpKind::kDispatchLayout:
      return dispatch_layout(c), true;
    case OpKind::kPermute:
      return permute(c), true;
    case OpKind::kUnpermute:
      return unpermute(c), true;
    default:
      return false;
  }
}

}  // namespace orrery
