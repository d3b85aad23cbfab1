#include "kernels/gemm/fp8_kernel.cuh"

namespace orrery::kernels::fp8_kernel {
template Status launch<Traits<TileKind::kFp8Tiles, 128, 128, false>>(const char*, const Params&,
                                                                     int, cudaStream_t);
}  // namespace orrery::kernels::fp8_kernel
