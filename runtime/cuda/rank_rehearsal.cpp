// A rank's products once before its first step.
#include <set>
#include <tuple>

#include "runtime/cuda/rank_scratch.h"

namespace orrery {

// cuBLASLt loads its kernels when a shape first needs them, which waits for kernels that run: so
// every shape runs once before the first step, on memory of no meaning.
void CudaRank::rehearse() {
  const RankClass& c = weights_.layout().rank_class();
  DeviceArray memory;
  std::set<std::tuple<OpKind, GemmLayout, int64_t, int64_t, int64_t, StreamKind>> done;
  for (const Block& b : c.blocks)
    for (const Instr& i : b.instrs) {
      if (i.kind != Instr::Kind::kLaunch) continue;
      const Op& op = plan_.graph_op(plan_.ops[i.arg]);
      const bool gemm = op.kind == OpKind::kGemm || op.kind == OpKind::kGemmFp8 ||
                        op.kind == OpKind::kGemmFp8Wgrad || op.kind == OpKind::kNewtonSchulz;
      if (!gemm || op.row_proportional) continue;
      const OpShape& s = op.shape;
      if (done.emplace(op.kind, op.layout, s.m, s.n, s.k, i.stream).second)
        rehearse_op(plan_.ops[i.arg], i.arg, i.stream, memory);
    }
  for (const Stream& s : streams_) s.cuda.synchronise();
}

void CudaRank::rehearse_op(const PlanOp& p, uint32_t plan_op, StreamKind s, DeviceArray& memory) {
  const StageGraph& g = plan_.stages[p.stage];
  const Op& op = g.ops[p.graph_op];
  Prepared x{Prepared::Kind::kOp, s, p.role};
  x.plan_op = plan_op;
  CudaRouting none;
  x.routing = &none;
  int64_t bytes = 4 * op.shape.m * op.shape.n;  // in the gradient's place
  const auto add = [&](TensorId id, std::vector<CudaTensor>& to) {
    const Tensor& t = g.tensors[id.v];
    CudaTensor dummy;
    dummy.rows = t.rows, dummy.cols = t.cols;
    to.push_back(dummy);
    bytes = std::max(bytes, device_bytes(t.dtype, t.rows, t.cols, t.groups));
  };
  for (TensorId id : g.inputs(op)) add(id, x.in);
  for (TensorId id : g.outputs(op)) add(id, x.out);
  // Inputs may share memory; the output has its own half.
  const auto half = static_cast<std::size_t>((bytes + 511) / 512 * 512);
  if (memory.bytes() < 2 * half) memory = DeviceArray(2 * half);
  for (CudaTensor& t : x.in) t.data = memory.as<char>();
  for (CudaTensor& t : x.out) t.data = memory.as<char>() + half;
  FixedScratch scratch(nullptr);
  CudaOpCall c = resolve(x, scratch);
  if (c.grad != nullptr) c.grad = reinterpret_cast<float*>(memory.as<char>() + half);
  if (!launch_matrix_op(c)) launch_muon_op(c, optimizer_);
  stream(s).cuda.synchronise();
}

}  // namespace orrery
