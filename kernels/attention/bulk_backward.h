// Attention backward by wgmma and bulk tensor copies, for widths that fill whole tiles.
#pragma once

#include "kernels/attention/backward.cuh"

namespace orrery::kernels::attention {

// Widths (192, 128) and (128, 128).
bool bulk_backward_takes(const AttentionShape& s);

// p.dk, p.dv and p.dq. Arguments have been checked, p.rows is there and bulk_backward_takes holds.
Status bulk_backward(const BackwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels::attention
