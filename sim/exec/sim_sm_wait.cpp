// Kernels of communication that wait for the SMs that a compute kernel has.
//
// An op that becomes ready when a compute op starts comes after it: the next kernel of a stream
// starts a microsecond after the one before, what an event on another stream lets start some
// microseconds later. Ready in the middle of one, it waits for the blocks that run to end.
#include "sim/exec/sim_engine.h"

namespace orrery {

// When blocks of the compute op in flight next end; now, if none is in flight or it keeps nothing.
Picos SimEngine::sms_free_at(uint32_t actor) {
  catch_up(actor);
  const Actor& a = actors_[actor];
  if ((a.in_flight & (1u << kCompute)) == 0) return now_;
  const int64_t held = timings_[ops_[a.streams[kCompute].last_op].timing].held;
  if (held == 0) return now_;
  const bool chain = in_chain(a);
  const Flight& f = flights_[a.flight[kCompute]];
  const Picos began = chain ? a.chain.began : f.start, end = chain ? a.chain.until : f.finish;
  const int64_t rounds = (now_ - began).count() / held + 1;
  return std::min(end, began + Picos(held * rounds));
}

// Looks at them after the compute ops of this time stamp have started.
void SimEngine::admit_waiting() {
  for (const uint32_t index : wanting_) {
    const uint32_t actor = index / kStreams;
    Flight& f = flights_[index];
    f.finish = sms_free_at(actor);
    if (f.finish > now_) {
      queue_.push(f.finish.count(), {index, ++f.epoch});
      continue;
    }
    const auto stream = static_cast<int>(index % kStreams);
    actors_[actor].streams[stream].wants_sms = false;
    meet(actor, stream, f.op);
  }
  wanting_.clear();
}

}  // namespace orrery
