// How the command line reaches the GPU backend.
#pragma once

#include <memory>

#include "runtime/cuda/flight.h"
#include "runtime/executor.h"
#include "runtime/launch/bootstrap.h"

namespace orrery {

// Throws ExitCode::kUnavailable without a GPU or a driver.
void check_gpu();

// This process's rank on its GPU, connected to the others. `plan`, `config` and `flight`, which may
// be nullptr, outlive it. Throws ExitCode::kUnavailable without a GPU, or NCCL where it is needed.
std::unique_ptr<Executor> make_cuda_executor(const ExecPlan& plan, const GraphConfig& config,
                                             const Numerics& numerics,
                                             const ExecutorOptions& options, Bootstrap& bootstrap,
                                             CudaFlight* flight);

}  // namespace orrery
