#include "kernels/gemm/bf16_kernel.cuh"

namespace orrery::kernels::bf16_kernel {
template Status launch<Traits<TileKind::kBf16Nn, 256>>(const char*, const Params&, int,
                                                       cudaStream_t);
template Status launch<Traits<TileKind::kBf16Nn, 128>>(const char*, const Params&, int,
                                                       cudaStream_t);
}  // namespace orrery::kernels::bf16_kernel
