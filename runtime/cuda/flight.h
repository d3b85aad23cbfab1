// The flight record of a GPU rank: what each stream was last told to do, and how far its
// collectives have come.
#pragma once

#include <memory>
#include <vector>

#include "runtime/launch/flight_recorder.h"
#include "sim/graph/exec_plan.h"

namespace orrery {

class CudaFlight {
 public:
  // `plan` outlives it.
  explicit CudaFlight(const ExecPlan& plan);
  ~CudaFlight();

  // After an op was put on a CUDA stream (a cudaStream_t).
  void record(StreamKind stream, uint32_t plan_op, void* cuda_stream);

  const FlightRecorder& recorder() const { return recorder_; }
  // Safe on any thread, also while the GPU hangs.
  FlightReaders readers() const;

 private:
  struct Events;
  const ExecPlan& plan_;
  FlightRecorder recorder_;
  std::vector<uint32_t> sequence_;  // per communicator number
  std::unique_ptr<Events> events_;
};

}  // namespace orrery
