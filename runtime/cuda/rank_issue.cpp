// Instructions on their streams: at once, or a block of them as a CUDA graph.
#include "runtime/cuda/rank_scratch.h"

namespace orrery {

void CudaRank::prepare(const Instr& i, bool for_graph) {
  Stream& s = stream(i.stream);
  switch (i.kind) {
    case Instr::Kind::kLaunch:
      return prepare_op(i.stream, i.arg, for_graph);
    case Instr::Kind::kRecord:
      prepared_.push_back({Prepared::Kind::kRecord, i.stream, i.role, &event(i.role, i.arg)});
      prepared_.back().event->clock = s.clock;
      return;
    case Instr::Kind::kWait:
      prepared_.push_back({Prepared::Kind::kWait, i.stream, i.role, &event(i.role, i.arg)});
      merge(s.clock, prepared_.back().event->clock);
      return;
    case Instr::Kind::kAlloc:
      return allocate(i.stream, i.role, i.arg);
    case Instr::Kind::kFree:
      return release(i.stream, i.role, i.arg);
  }
}

void CudaRank::prepare_op(StreamKind s, uint32_t plan_op, bool for_graph) {
  const PlanOp& p = plan_.ops[plan_op];
  const StageGraph& g = plan_.stages[p.stage];
  const Op& op = g.ops[p.graph_op];
  Prepared x{Prepared::Kind::kOp, s, p.role};
  x.plan_op = plan_op;
  for (TensorId id : g.inputs(op)) x.in.push_back(tensor(p.role, id.v));
  for (TensorId id : g.outputs(op)) x.out.push_back(tensor(p.role, id.v));
  x.routing = &routing(p.role, op.unit);
  if (for_graph) {
    FixedScratch none(nullptr);
    const int64_t bytes = scratch_bytes(resolve(x, none));
    if (bytes > 0) x.scratch = take(bytes, s, false);
  }
  ++stream(s).clock[static_cast<std::size_t>(s)];
  if (x.scratch != nullptr) pool_.free(x.scratch, point(s));
  prepared_.push_back(std::move(x));
}

// The latest point of a stream, as the uses of memory there name it.
StreamClock CudaRank::point(StreamKind s) {
  StreamClock c{};
  c[static_cast<std::size_t>(s)] = stream(s).clock[static_cast<std::size_t>(s)];
  return c;
}

void CudaRank::issue(Prepared& p) {
  const cudaStream_t on = stream(p.stream).cuda.get();
  switch (p.kind) {
    case Prepared::Kind::kOp:
      return issue_op(p);
    case Prepared::Kind::kRecord:
      return cuda_check(cudaEventRecord(p.event->cuda.get(), on), "recording an event");
    case Prepared::Kind::kWait:
      return cuda_check(cudaStreamWaitEvent(on, p.event->cuda.get()), "waiting for an event");
    case Prepared::Kind::kWaitStream: {
      const CudaEvent now;
      cuda_check(cudaEventRecord(now.get(), streams_[static_cast<std::size_t>(p.other)].cuda.get()),
                 "recording an event");
      return cuda_check(cudaStreamWaitEvent(on, now.get()), "waiting for an event");
    }
  }
}

// In a graph, events that outlive the call are left out: they cannot be part of one.
void CudaRank::issue_all(bool in_graph) {
  for (Prepared& p : prepared_) {
    const bool event = p.kind == Prepared::Kind::kRecord || p.kind == Prepared::Kind::kWait;
    if (in_graph && event && p.role != Role::kBlock) continue;
    issue(p);
  }
  if (!in_graph) prepared_.clear();
}

std::vector<const void*> CudaRank::addresses() const {
  std::vector<const void*> all;
  for (const Prepared& p : prepared_) {
    for (const CudaTensor& t : p.in) all.push_back(t.data);
    for (const CudaTensor& t : p.out) all.push_back(t.data);
    if (p.kind == Prepared::Kind::kOp) all.push_back(p.scratch);
  }
  return all;
}

void CudaRank::call_as_graph(uint32_t block) {
  for (const Instr& i : blocks_[block]) prepare(i, true);
  BlockGraphs& graphs = graphs_[block];
  const BlockGraphs::State state = graphs.look_up(addresses());
  if (state == BlockGraphs::State::kNew) return issue_all(false);
  const cudaStream_t main = stream(StreamKind::kCompute).cuda.get();
  const cudaStream_t aux = stream(StreamKind::kComputeAux).cuda.get();
  const CudaEvent point;
  const auto order = [&](cudaStream_t before, cudaStream_t after) {
    cuda_check(cudaEventRecord(point.get(), before), "recording an event");
    cuda_check(cudaStreamWaitEvent(after, point.get()), "waiting for an event");
  };
  // Waits for what other calls did come before the graph, what they wait for after it.
  for (const Prepared& p : prepared_)
    if (p.kind == Prepared::Kind::kWait && p.role != Role::kBlock)
      cuda_check(cudaStreamWaitEvent(main, p.event->cuda.get()), "waiting for an event");
  order(aux, main);
  if (state == BlockGraphs::State::kSeen) {
    cuda_check(cudaStreamBeginCapture(main, cudaStreamCaptureModeRelaxed), "capturing a block");
    order(main, aux);
    issue_all(true);
    order(aux, main);
    graphs.end_capture(main);
  }
  graphs.launch(main);
  order(main, aux);
  for (const Prepared& p : prepared_)
    if (p.kind == Prepared::Kind::kRecord && p.role != Role::kBlock)
      cuda_check(cudaEventRecord(p.event->cuda.get(), main), "recording an event");
  prepared_.clear();
}

}  // namespace orrery
