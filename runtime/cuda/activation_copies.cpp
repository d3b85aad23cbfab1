// Activations in host memory: copies that run beside kernels.
#include "runtime/cuda/op_call.h"

namespace orrery {

bool launch_activation_copy(CudaOpCall& c) {
  const bool store = c.op.kind == OpKind::kStoreActivations;
  if (!store && c.op.kind != OpKind::kLoadActivations) return false;
  const CudaTensor &from = *c.in[0], &to = *c.out[0];
  if (from.bytes != to.bytes)
    throw Error(ExitCode::kInternal,
                fmt::format("{} bytes of activations for {}", from.bytes, to.bytes));
  cuda_check(cudaMemcpyAsync(to.data, from.data, static_cast<std::size_t>(from.bytes),
                             store ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, c.stream),
             "copying activations");
  return true;
}

}  // namespace orrery
