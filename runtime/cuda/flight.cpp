#include "runtime/cuda/flight.h"

#include <algorithm>

#include "runtime/cuda/device.h"

namespace orrery {
namespace {

constexpr std::size_t kKept = 64;  // launches per stream

std::vector<std::string> stream_names() {
  return {std::begin(kStreamNames), std::end(kStreamNames)};
}

}  // namespace

// A ring per stream, as long as the recorder's. Entry n of a stream is event n modulo its length.
struct CudaFlight::Events {
  std::vector<CudaEvent> rings[kStreams];
  std::size_t next[kStreams] = {};
};

CudaFlight::CudaFlight(const ExecPlan& plan)
    : plan_(plan), recorder_(stream_names(), kKept), events_(std::make_unique<Events>()) {
  std::size_t most = 0;
  for (const RankClass& c : plan.classes) most = std::max(most, c.communicators.size());
  sequence_.resize(most, 0);
  // All at once, so that a reader on another thread never sees them move.
  for (auto& ring : events_->rings)
    for (std::size_t i = 0; i < kKept; ++i) ring.emplace_back();
}

CudaFlight::~CudaFlight() = default;

void CudaFlight::record(StreamKind stream, uint32_t plan_op, void* cuda_stream) {
  const PlanOp& p = plan_.ops[plan_op];
  const Op& op = plan_.graph_op(p);
  FlightRecord r;
  r.op = plan_op;
  if (p.communicator >= 0) {
    r.communicator = op.comm;
    r.sequence = sequence_[static_cast<std::size_t>(p.communicator)]++;
    r.bytes = static_cast<uint64_t>(op.work.network.count());
    const auto s = static_cast<std::size_t>(stream);
    auto& ring = events_->rings[s];
    const std::size_t at = events_->next[s]++ % kKept;
    cuda_check(cudaEventRecord(ring[at].get(), static_cast<cudaStream_t>(cuda_stream)),
               "recording an event");
    r.event = at + 1;
  }
  recorder_.record(static_cast<int>(stream), r);
}

FlightReaders CudaFlight::readers() const {
  FlightReaders r;
  r.name = [this](uint32_t op) { return plan_.op_name(op); };
  r.state = [this](int stream, const FlightRecord& record) {
    if (record.event == 0) return FlightState::kUnknown;
    const CudaEvent& e =
        events_
            ->rings[static_cast<std::size_t>(stream)][static_cast<std::size_t>(record.event) - 1];
    return cudaEventQuery(e.get()) == cudaSuccess ? FlightState::kCompleted
                                                  : FlightState::kLaunched;
  };
  return r;
}

}  // namespace orrery
