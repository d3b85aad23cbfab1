// Routing and the reordering of rows around the experts.
#include "kernels/activation/clipped_swiglu_reference.h"
#include "kernels/moe/dispatch_reference.h"
#include "kernels/moe/layout_reference.h"
#include "kernels/moe/router_reference.h"
#include "runtime/cpu/moe_views.h"

namespace orrery {
namespace {

using namespace kernels;

template <class T>
void router(OpCall<T>& c) {
  const RouterConfig& r = c.numerics.router;
  HostTensor<T>& out = *c.out[0];
  out.values.assign(static_cast<std::size_t>(c.tokens() * r.k), T(0));
  int32_t* routing = out.resize_ints(c.tokens(), kernels::kRoutingWords * r.k);
  router_reference<T>(r, c.tokens(), c.input(0), c.config.model.router.bias ? c.weight : nullptr,
                      routing, out.values.data(), c.load);
}

template <class T>
void router_backward(OpCall<T>& c) {
  const RouterConfig& r = c.numerics.router;
  router_backward_reference<T>(r, c.tokens(), c.input(0), c.in[1]->ints.data(), c.input(2),
                               c.out[0]->resize(c.tokens(), r.experts));
}

template <class T>
void expert_layout_op(OpCall<T>& c) {
  const HostTensor<T>& routing = *c.in[0];
  const int64_t k = c.config.model.experts_per_token;
  HostTensor<T>& out = *c.out[0];
  out.rows = routing.rows;
  out.cols = expert_layout_capacity(routing.rows, k, c.local_experts, kExpertRowAlignment);
  out.ints.resize(
      static_cast<std::size_t>(expert_layout_ints(out.rows, k, c.local_experts, out.cols)));
  out.values.resize(static_cast<std::size_t>(out.cols));
  // Arrived routing has local ids; that of a rank alone is the same with all experts local.
  expert_layout_reference<T>(out.rows, k, c.local_experts, kExpertRowAlignment, out.cols,
                             routing.ints.data(), routing.cols, 0, routing.values.data(),
                             expert_layout(c, out), out.values.data());
}

template <class T>
void dispatch_layout_op(OpCall<T>& c) {
  const int64_t k = c.config.model.experts_per_token;
  c.out[0]->resize_ints(1, dispatch_layout_ints(c.tokens(), k, c.ranks, c.local_experts));
  dispatch_layout_reference(c.tokens(), k, c.ranks, c.local_experts, c.in[0]->ints.data(),
                            dispatch_layout(c, *c.out[0]));
}

template <class T>
void unpermute(OpCall<T>& c) {
  const HostTensor<T>& layout = *c.in[1];
  const bool weighted = c.shape().index == 1;
  const int64_t cols = c.in[0]->cols;
  unpermute_reference<T>(
      layout.rows, cols, c.config.model.experts_per_token, expert_layout(c, layout).slot_row,
      weighted ? layout.values.data() : nullptr, c.input(0), c.out[0]->resize(layout.rows, cols));
}

// The gradients of gate and up, side by side; with a weight a row also what it multiplies.
template <class T>
void gated_backward(const OpCall<T>& c, int64_t rows, int64_t width, const T* gate_up,
                    const T* dact, const T* weight, T* act, T* dx) {
  const ModelSpec& m = c.config.model;
  if (m.activation == Activation::kClippedSwiGlu)
    clipped_swiglu_backward_reference<T>(rows, width, static_cast<T>(m.activation_limit), gate_up,
                                         dact, weight, act, dx);
  else
    swiglu_backward_reference<T>(rows, width, gate_up, dact, weight, act, dx);
}

// Of gate and up as two tensors, with the gradients of each.
template <class T>
void separate_swiglu_backward(OpCall<T>& c) {
  const int64_t rows = c.in[0]->rows, width = c.in[0]->cols;
  const std::vector<T> gate_up = join_rows(c.in[0]->values, c.in[1]->values, width);
  std::vector<T> dx(gate_up.size());
  gated_backward<T>(c, rows, width, gate_up.data(), c.input(2), nullptr, nullptr, dx.data());
  T* gate = c.out[0]->resize(rows, width);
  T* up = c.out[1]->resize(rows, width);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(dx.data() + r * 2 * width, width, gate + r * width);
    std::copy_n(dx.data() + (r * 2 + 1) * width, width, up + r * width);
  }
}

template <class T>
void swiglu_backward(OpCall<T>& c) {
  if (c.shape().first > 0) return separate_swiglu_backward(c);
  const int64_t rows = c.in[0]->rows, width = c.in[0]->cols / 2;
  const bool weighted = c.in.size() > 2;
  T* act = weighted ? c.out[1]->resize(rows, width) : nullptr;
  const T* weight = weighted ? c.input(2) : nullptr;
  T* dx = c.out[0]->resize(rows, 2 * width);
  gated_backward<T>(c, rows, width, c.input(0), c.input(1), weight, act, dx);
}

template <class T>
void swiglu_weight_backward(OpCall<T>& c) {
  const HostTensor<T>& layout = *c.in[2];
  T* out = c.out[0]->resize(layout.rows, c.config.model.experts_per_token);
  swiglu_weight_backward_reference<T>(c.in[0]->rows, c.in[0]->cols, c.input(0), c.input(1),
                                      layout.values.data(), expert_layout(c, layout).row_slot, out);
  if (c.in.size() < 4) return;
  // The weights also multiply the bias of the last product.
  const ExpertLayout e = expert_layout(c, layout);
  const int64_t cols = c.in[3]->cols;
  for (int64_t expert = 0; expert < c.local_experts; ++expert)
    for (int64_t r = e.offsets[expert]; r < e.offsets[expert + 1]; ++r) {
      if (e.row_slot[r] < 0) continue;
      double dot = 0;
      for (int64_t i = 0; i < cols; ++i)
        dot += static_cast<double>(c.input(3)[r * cols + i]) *
               static_cast<double>(c.weight[expert * cols + i]);
      out[e.row_slot[r]] += static_cast<T>(dot);
    }
}

}  // namespace

template <class T>
bool run_moe_op(OpCall<T>& c) {
  switch (c.op.kind) {
    case OpKind::kRouter:
      return router(c), true;
    case OpKind::kRouterBackward:
      return router_backward(c), true;
    case OpKind::kExpertLayout:
      return expert_layout_op(c), true;
    case OpKind::kDispatchLayout:
      return dispatch_layout_op(c), true;
    case OpKind::kPermute:
      return permute_rows(c, *c.in[0], *c.in[1], *c.out[0]), true;
    case OpKind::kUnpermute:
      return unpermute(c), true;
    case OpKind::kSwiGluBackward:
      return swiglu_backward(c), true;
    case OpKind::kSwiGluWeightBackward:
      return swiglu_weight_backward(c), true;
    default:
      return false;
  }
}

template bool run_moe_op(OpCall<float>&);
template bool run_moe_op(OpCall<double>&);

}  // namespace orrery
