// NCCL's choice of algorithm and protocol: the pair whose estimated time
//   latency + S / bandwidth
// is least. The estimate is NCCL's own, with its caps per channel and its correction of trees
// (ncclTopoTuneModel and ncclTopoGetAlgoTime of src/graph/tuning.cc); it is a rule of choice, and
// for NVLS not the time that the kernels take (collective.h has that).
#pragma once

#include "sim/net/collectives/collective.h"

namespace orrery {

struct TunerEstimate {
  double latency_us = 0;
  double bandwidth_GBps = 0;  // S over time; 0: not offered

  double micros(double bytes) const { return latency_us + bytes / (bandwidth_GBps * 1e3); }
};

TunerEstimate tuner_estimate(const CollectiveSpec& spec, Collective c, const GroupLinks& links,
                             double bytes, Algorithm a, Protocol p);

struct TunerChoice {
  Algorithm algorithm = Algorithm::kRing;
  Protocol protocol = Protocol::kSimple;
};
TunerChoice tuner_choice(const CollectiveSpec& spec, Collective c, const GroupLinks& links,
                         double bytes);

// Bus bandwidth of an algorithm before its steps are counted: what its protocol reaches on the
// slowest link that it uses, GB/s.
double protocol_rate_GBps(const CollectiveSpec& spec, const GroupLinks& links, Algorithm a,
                          Protocol p);

}  // namespace orrery
