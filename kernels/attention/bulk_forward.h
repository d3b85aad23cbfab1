// Attention forward by wgmma and bulk tensor copies, for widths that fill whole tiles.
#pragma once

#include "kernels/attention/attention.h"

namespace orrery::kernels::attention {

// Widths (192, 128) and (128, 128).
bool bulk_forward_takes(const AttentionShape& s);

// Arguments have been checked; bulk_forward_takes holds.
Status bulk_forward(const AttentionForwardParams& p, cudaStream_t stream);

}  // namespace orrery::kernels::attention
