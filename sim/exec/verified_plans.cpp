#include "sim/exec/verified_plans.h"

#include "sim/exec/sim_noise.h"
#include "sim/exec/verify_backend.h"

namespace orrery {
namespace {

class Digest {
 public:
  template <class... Values>
  void add(Values... values) {
    ((h_ = hashed(h_ ^ static_cast<uint64_t>(values))), ...);
  }
  uint64_t value() const { return h_; }

 private:
  uint64_t h_ = 0;
};

void add_stage(Digest& d, const StageGraph& g) {
  d.add(g.ops.size(), g.tensors.size(), g.operands.size());
  for (const Op& op : g.ops)
    d.add(op.kind, op.first_operand, (uint64_t{op.inputs} << 16) | op.outputs,
          op.work.network.count());
  for (const TensorId t : g.operands) d.add(t.v);
  for (const Tensor& t : g.tensors) d.add(t.readers);
}

void add_class(Digest& d, const RankClass& c) {
  d.add(c.slots_per_chunk, c.stage_of_chunk.size(), c.blocks.size(), c.calls.size());
  for (const int stage : c.stage_of_chunk) d.add(stage);
  for (const int batch : c.first_batch_of_chunk) d.add(batch);
  for (const Communicator& m : c.communicators) d.add(m.kind, m.key);
  for (const Block& b : c.blocks) {
    d.add(b.forward_stage, b.backward_stage, b.events, b.instrs.size());
    for (const Instr& i : b.instrs)
      d.add(static_cast<uint64_t>(i.kind) << 48 | static_cast<uint64_t>(i.stream) << 40 |
            static_cast<uint64_t>(i.role) << 32 | i.arg);
  }
  for (const Call& call : c.calls)
    d.add(call.block, (static_cast<uint64_t>(static_cast<uint32_t>(call.forward_slot)) << 32) |
                          static_cast<uint32_t>(call.backward_slot));
}

}  // namespace

uint64_t plan_digest(const ExecPlan& plan) {
  Digest d;
  d.add(plan.stages.size(), plan.classes.size(), plan.ops.size());
  for (const StageGraph& g : plan.stages) add_stage(d, g);
  for (const RankClass& c : plan.classes) add_class(d, c);
  for (const PlanOp& p : plan.ops)
    d.add(static_cast<uint64_t>(p.stage) << 48 | static_cast<uint64_t>(p.role) << 40 |
              static_cast<uint64_t>(p.stream) << 32 | p.graph_op,
          p.communicator);
  return d.value();
}

void VerifiedPlans::verify(const ExecPlan& plan) {
  const uint64_t digest = plan_digest(plan);
  {
    const std::lock_guard lock(mutex_);
    if (sound_.count(digest) != 0) return;
  }
  verify_or_throw(plan);
  const std::lock_guard lock(mutex_);
  sound_.insert(digest);
}

}  // namespace orrery
