#include "kernels/attention/bulk_forward.cuh"

namespace orrery::kernels::attention::bulk {
template Status launch<192>(const Params&, cudaStream_t);
}  // namespace orrery::kernels::attention::bulk
