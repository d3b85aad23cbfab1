// A rank's ops: operands bound, kernels and collectives launched, times recorded.
#include <nvtx3/nvToolsExt.h>

#include "runtime/cuda/rank_scratch.h"

namespace orrery {

CudaOpCall CudaRank::resolve(Prepared& x, Scratch& scratch) {
  const PlanOp& p = plan_.ops[x.plan_op];
  const StageGraph& g = plan_.stages[p.stage];
  const Op& op = g.ops[p.graph_op];
  Stream& on = stream(x.stream);
  CudaOpCall c{op, g, config_, numerics_, on.cuda.get(), *on.gemm, scratch, weights_};
  c.rope_table = rope_table_.as<float2>();
  c.tokens_of_batch = batch_tokens_.as<int32_t>();
  for (CudaTensor& t : x.in) c.in.push_back(&t);
  for (CudaTensor& t : x.out) c.out.push_back(&t);
  c.ranks = config_.plan.expert_parallel;
  c.local_experts = config_.model.experts / c.ranks;
  c.expert_tensor = expert_tensor_;
  c.routing = x.routing;
  c.at = weights_.layout().position();
  if (op.param.valid()) bind_param(c, p.stage);
  if (op.bias.valid()) bind_bias(c, p.stage);
  return c;
}

void CudaRank::bind_bias(CudaOpCall& c, int stage) {
  // Once in the sum over ranks that split the inputs.
  if (c.param != nullptr && c.param->shard.axis == ShardAxis::kCols && c.at.tensor > 0) return;
  c.bias = weights_.kernel_weight(stage, c.op.bias);
  c.bias_grad = weights_.gradient(stage, c.op.bias);
}

void CudaRank::bind_param(CudaOpCall& c, int stage) {
  c.param = &c.graph.params[c.op.param.v];
  c.weight = weights_.kernel_weight(stage, c.op.param);
  c.grad = weights_.gradient(stage, c.op.param);
  if (c.op.kind == OpKind::kRouter && !c.op.again) {
    const ParamId load = c.graph.find_param("router.load", c.param->layer);
    c.load = weights_.kernel_weight(stage, load).f32;
  }
}

void CudaRank::issue_op(Prepared& x) {
  const PlanOp& p = plan_.ops[x.plan_op];
  const cudaStream_t on = stream(x.stream).cuda.get();
  std::string& name = names_[x.plan_op];
  if (name.empty()) name = fmt::format("op={} {}", x.plan_op, plan_.op_name(x.plan_op));
  nvtxRangePushA(name.c_str());
  if (recording_) {
    timed_.emplace_back();
    cuda_check(cudaEventRecord(timed_.back().start.get(), on), "timing an op");
  }
  try {
    if (graphs_[call_.block].possible() && !recording_) {
      FixedScratch scratch(x.scratch);
      CudaOpCall c = resolve(x, scratch);
      run_op(c, p);
    } else {
      StreamScratch scratch(*this, x.stream);
      CudaOpCall c = resolve(x, scratch);
      run_op(c, p);
      if (recording_) timed_.back().record.held = Bytes(weights_.static_bytes() + pool_.in_use());
    }
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", plan_.op_name(x.plan_op), e.what()));
  }
  // While a block is captured its events would become part of the graph.
  if (flight_ != nullptr && !graphs_[call_.block].possible())
    flight_->record(x.stream, x.plan_op, on);
  if (recording_) {
    Timed& t = timed_.back();
    cuda_check(cudaEventRecord(t.end.get(), on), "timing an op");
    t.record = {Picos(0),
                Picos(0),
                x.plan_op,
                call_index_,
                static_cast<uint16_t>(weights_.layout().place().rank_class),
                x.stream,
                t.record.held};
  }
  nvtxRangePop();
}

void CudaRank::run_op(CudaOpCall& c, const PlanOp& p) {
  if (p.communicator >= 0)
    return launch_collective(c, communicators_[static_cast<std::size_t>(p.communicator)]);
  if (launch_map_op(c) || launch_cast_op(c) || launch_matrix_op(c) || launch_moe_op(c) ||
      launch_block_op(c) || launch_activation_copy(c) || launch_optimizer_op(c, optimizer_))
    return;
  throw Error(ExitCode::kInternal, "the CUDA backend has no such op");
}

}  // namespace orrery
