// The ops of the optimizer step.
#include "kernels/optimizer/adamw.h"
#include "runtime/cuda/op_call.h"
#include "runtime/model/decay.h"
#include "runtime/model/zeroed_gradients.h"

namespace orrery {
namespace {

CudaWeights::Share& share_of(CudaOpCall& c) {
  return c.weights.shares()[static_cast<std::size_t>(c.shape().index)];
}

const StageGraph& stage_graph(const CudaOpCall& c, int stage) {
  return *c.weights.layout().stage_graph(stage);
}

// The rank's losses enter the statistics once, with the first share.
void take_losses(CudaOpCall& c, float* statistics) {
  for (const RankLayout::Loss& l : c.weights.layout().losses()) {
    float* loss = c.weights.buffers() + l.offset;
    cuda_check(cudaMemcpyAsync(statistics + 1 + l.depth, loss, sizeof(float),
                               cudaMemcpyDeviceToDevice, c.stream),
               "copying a loss");
    cuda_check(cudaMemsetAsync(loss, 0, sizeof(float), c.stream), "clearing a loss");
  }
}

// Sum of squares of the owned gradients; a shard that several ranks own counts once in all.
void grad_norm(CudaOpCall& c) {
  CudaWeights::Share& s = share_of(c);
  float* out = c.out[0]->f32();
  const auto bytes = static_cast<std::size_t>(4 * c.out[0]->cols);
  if (c.shape().index > 0) {
    cuda_check(cudaMemcpyAsync(out, c.in[1]->data, bytes, cudaMemcpyDeviceToDevice, c.stream),
               "copying statistics");
  } else {
    cuda_check(cudaMemsetAsync(out, 0, bytes, c.stream), "clearing statistics");
    take_losses(c, out);
  }
  float* grads = s.grads.as<float>() + s.begin;
  const OptimizerShare& spec = *s.spec;
  if (s.kept_gradients.bytes() > 0)
    cuda_check(cudaMemcpyAsync(s.kept_gradients.as<float>(), grads, s.kept_gradients.bytes(),
                               cudaMemcpyDeviceToDevice, c.stream),
               "keeping gradients");
  auto* workspace = reinterpret_cast<float*>(
      c.scratch.get(kernels::kSumSquaresWorkspace * static_cast<int64_t>(sizeof(float))));
  const StageGraph& graph = stage_graph(c, spec.stage);
  for (const NormRange& r : norm_ranges(graph, spec, {s.begin, s.owned}, c.at.tensor))
    launch_check(kernels::sum_squares(
        {.n = r.elements,
         .x = grads + r.begin,
         .scale = spec.shards == 1 ? 1.0F / static_cast<float>(spec.owners) : 1.0F,
         .workspace = workspace,
         .out = out},
        c.stream));
}

// Of the owned shard, without what it writes for the kernels.
kernels::AdamWParams update_of(CudaOpCall& c, const OptimizerStep& step) {
  const CudaWeights::Share& s = share_of(c);
  kernels::AdamWParams p;
  const ShardRange part = owned_part(c.shape(), c.weights.layout());
  const DeviceStates states = states_of(c, s, part.begin, part.elements);
  p.n = part.elements;
  p.master = states.master;
  p.m = states.m;
  p.v = states.v;
  p.moments = c.weights.bf16_moments() ? kernels::MomentType::kBf16 : kernels::MomentType::kFp32;
  p.grads = s.grads.as<float>() + s.begin + part.begin;
  p.decay = s.decay.as<uint8_t>() + (s.begin + part.begin) / kShareAlignment;
  p.lr = step.lr, p.beta1 = step.beta1, p.beta2 = step.beta2, p.eps = step.eps;
  p.weight_decay = step.weight_decay;
  p.step = step.step;
  p.norm_squared = c.in[0]->f32();
  p.max_norm = step.max_grad_norm;
  return p;
}

// The part of `all` that is one parameter, which begins at `offset`.
kernels::AdamWParams part_of(const kernels::AdamWParams& all, int64_t offset, int64_t elements) {
  const int64_t moment = all.moments == kernels::MomentType::kBf16 ? 2 : 4;
  kernels::AdamWParams p = all;
  p.n = elements;
  p.master += offset;
  p.m = static_cast<char*>(all.m) + offset * moment;
  p.v = static_cast<char*>(all.v) + offset * moment;
  p.grads += offset;
  p.decay += offset / kShareAlignment;
  return p;
}

// Parameter by parameter, each into what kernels read of it.
void update_and_cast(CudaOpCall& c, const kernels::AdamWParams& all) {
  const OptimizerShare& spec = *share_of(c).spec;
  const StageGraph& g = stage_graph(c, spec.stage);
  for (std::size_t i = 0; i < spec.params.size(); ++i) {
    const Param& param = g.params[spec.params[i].v];
    const KernelWeight& to = c.weights.copy(c.shape().index, i);
    kernels::AdamWParams p = part_of(all, spec.offsets[i], param.count());
    if (to.fp8 == nullptr) {
      p.weights_out = to.bf16;
      launch_check(kernels::adamw(p, c.stream));
      continue;
    }
    const int64_t rows = param.rows / param.groups;
    launch_check(kernels::adamw_cast({.step = p,
                                      .batch = param.groups,
                                      .rows = rows,
                                      .cols = param.cols,
                                      .out = {to.fp8, to.scales, rows, param.cols}},
                                     c.stream));
  }
}

void adamw(CudaOpCall& c, const OptimizerStep& step) {
  CudaWeights::Share& s = share_of(c);
  kernels::AdamWParams p = update_of(c, step);
  if (s.spec->cast_in_optimizer) {
    update_and_cast(c, p);
  } else {
    p.weights_out = (c.fp8() ? c.out[0]->bf16() : s.weights.as<kernels::bf16>()) + s.begin +
                    owned_part(c.shape(), c.weights.layout()).begin;
    launch_check(kernels::adamw(p, c.stream));
  }
  take_statistics(c);
}

// Inputs: for each share that the optimizer has not cast its updated weights, then, when they were
// gathered, a token.
void cast_weights(CudaOpCall& c) {
  if (!c.fp8()) return;
  std::size_t at = 0;
  for (std::size_t i = 0; i < c.weights.shares().size(); ++i) {
    if (c.weights.shares()[i].spec->cast_in_optimizer) continue;
    const bool gathered = c.weights.shares()[i].spec->shards > 1;
    c.weights.cast(static_cast<int>(i), c.in[at]->bf16(), c.stream);
    at += gathered ? 2 : 1;
  }
}

void zero_gradients(CudaOpCall& c) {
  for (const CudaWeights::Share& s : c.weights.shares())
    for (const ElementRange& r : zeroed_gradients(stage_graph(c, s.spec->stage), *s.spec))
      cuda_check(cudaMemsetAsync(s.grads.as<float>() + r.begin, 0,
                                 static_cast<std::size_t>(r.elements) * sizeof(float), c.stream),
                 "clearing gradients");
}

void router_bias(CudaOpCall& c, const OptimizerStep& step) {
  const int64_t experts = c.config.model.experts;
  const RankLayout& layout = c.weights.layout();
  const int stage = layout.rank_class().stage_of_chunk[static_cast<std::size_t>(c.op.unit)];
  const StageGraph& g = stage_graph(c, stage);
  for (uint32_t i = 0; i < g.params.size(); ++i) {
    if (g.params[i].name != "router.bias") continue;
    const ParamId load = g.find_param("router.load", g.params[i].layer);
    float* counts = c.weights.buffers() + layout.find(stage, load).offset;
    launch_check(
        kernels::router_bias_update({.experts = experts,
                                     .load = counts,
                                     .bias = c.weights.buffers() + layout.find(stage, {i}).offset,
                                     .rate = static_cast<float>(step.router_bias_rate)},
                                    c.stream));
  }
  const RankLayout::Range loads = layout.router_loads(c.op.unit);
  cuda_check(cudaMemcpyAsync(
                 c.weights.host_buffers() + loads.offset, c.weights.buffers() + loads.offset,
                 static_cast<std::size_t>(4 * loads.elements), cudaMemcpyDeviceToHost, c.stream),
             "copying expert loads");
  cuda_check(cudaMemsetAsync(c.weights.buffers() + loads.offset, 0,
                             static_cast<std::size_t>(4 * loads.elements), c.stream),
             "clearing expert loads");
}

}  // namespace

void take_statistics(CudaOpCall& c) {
  if (c.shape().index != 0 || c.shape().first != 0) return;
  cuda_check(cudaMemcpyAsync(c.weights.host_statistics(), c.in[0]->data,
                             static_cast<std::size_t>(4 * c.in[0]->cols), cudaMemcpyDeviceToHost,
                             c.stream),
             "copying statistics");
}

bool launch_optimizer_op(CudaOpCall& c, const OptimizerStep& step) {
  switch (c.op.kind) {
    case OpKind::kGradNorm:
      return grad_norm(c), true;
    case OpKind::kAdamW:
      return adamw(c, step), true;
    case OpKind::kLoadStates:
    case OpKind::kStoreStates:
      return copy_states(c), true;
    case OpKind::kMuonMomentum:
    case OpKind::kMuonNormalise:
    case OpKind::kNewtonSchulz:
    case OpKind::kMuonUpdate:
      return launch_muon_op(c, step), true;
    case OpKind::kCastWeights:
      return cast_weights(c), true;
    case OpKind::kZeroGrad:
      return zero_gradients(c), true;
    case OpKind::kRouterBias:
      return router_bias(c, step), true;
    default:
      return false;
  }
}

}  // namespace orrery
