#include "kernels/gemm/fp8_kernel.cuh"

namespace orrery::kernels::fp8_kernel {
template Status launch<Traits<TileKind::kFp8Tiles, 192, 128, true>>(const char*, const Params&, int,
                                                                    cudaStream_t);
}  // namespace orrery::kernels::fp8_kernel
