#include "sim/report/perfetto.h"

#include <fmt/format.h>

#include "sim/report/trace_events.h"

namespace orrery {
namespace {

// Exact microseconds from picoseconds, without going through floating point.
std::string us(Picos t) {
  return fmt::format("{}.{:06}", t.count() / 1000000, t.count() % 1000000);
}

class Writer {
 public:
  explicit Writer(const Prediction& p) : p_(p), plan_(p.plan), out_(members(p)) {}

  std::string write() {
    names();
    for (const OpRecord& r : p_.trace.records) slice(r);
    memory();
    return out_.finish();
  }

 private:
  static std::string members(const Prediction& p) {
    return fmt::format(R"("deviceProperties":[{{"id":0,"name":{},"numSms":{:g}}}],"traceName":{})",
                       TraceEvents::quoted(p.study.cluster.node.gpu.name),
                       p.study.cluster.node.gpu.sm_count.value, TraceEvents::quoted(p.study.name));
  }

  void names() {
    for (std::size_t c = 0; c < plan_.classes.size(); ++c) {
      out_.name_process(c, fmt::format("{} (stands for {} ranks)", plan_.classes[c].name,
                                       plan_.classes[c].multiplicity));
      for (std::size_t s = 0; s < kStreams; ++s)
        out_.name_thread(c, s, std::string(kStreamNames[s]));
    }
  }

  void slice(const OpRecord& r) {
    const Op& op = plan_.graph_op(plan_.ops[r.op]);
    const RankClass& c = plan_.classes[r.rank_class];
    const Call& call = c.calls[r.call];
    const int slot =
        plan_.ops[r.op].role == Role::kForward ? call.forward_slot : call.backward_slot;
    out_.event(R"({{"ph":"X","cat":"kernel","name":{},"pid":{},"tid":{},"ts":{},"dur":{},"args":{{)"
               R"("stream":{},"device":{},"layer":{},"segment":"{}","kind":"{}","block":"{}",)"
               R"("chunk":{},"micro_batch":{}}}}})",
               TraceEvents::quoted(op.name), r.rank_class, static_cast<int>(r.stream), us(r.start),
               us(r.end - r.start), static_cast<int>(r.stream), r.rank_class, op.layer,
               kSegmentNames[static_cast<std::size_t>(op.segment)], op_kind_name(op.kind),
               kBlockKindNames[static_cast<std::size_t>(c.blocks[call.block].kind)],
               slot < 0 ? -1 : slot / c.slots_per_chunk, slot < 0 ? -1 : slot % c.slots_per_chunk);
  }

  void memory() {
    for (std::size_t c = 0; c < p_.trace.memory_timeline.size(); ++c) {
      // Samples closer than this say nothing more on screen.
      constexpr Picos kStep(1000000000);
      Picos next(0);
      for (const MemorySample& s : p_.trace.memory_timeline[c]) {
        if (s.time < next) continue;
        next = s.time + kStep;
        std::string kinds;
        for (std::size_t k = 0; k < s.by_kind.size(); ++k)
          kinds += fmt::format(R"({}"{}":{:.3f})", k == 0 ? "" : ",", kBufferKindNames[k],
                               gib(s.by_kind[k]));
        out_.event(R"({{"ph":"C","name":"memory, GiB","pid":{},"tid":0,"ts":{},"args":{{{}}}}})", c,
                   us(s.time), kinds);
      }
    }
  }

  const Prediction& p_;
  const ExecPlan& plan_;
  TraceEvents out_;
};

}  // namespace

std::string chrome_trace(const Prediction& p) { return Writer(p).write(); }

}  // namespace orrery
