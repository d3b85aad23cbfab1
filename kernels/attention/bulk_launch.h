// What the launches of bulk_forward.h and bulk_backward.h share.
#pragma once

#include "kernels/attention/shape.h"
#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/gemm/tensor_map.h"

namespace orrery::kernels::attention {

constexpr int kChunk = 64;  // BF16 values of a swizzled row of 128 bytes

// Boxes of box_rows tokens and kChunk columns of x, whose rows have `width` columns and are ld
// elements apart.
Status map_rows(CUtensorMap* map, const bf16* x, int64_t ld, int64_t width, int box_rows,
                const AttentionShape& s);

// How many times `bytes` fit into two thirds of the device's L2 cache, at least once: the rest is
// for what is written, and for what passes through.
Status times_in_l2(int64_t bytes, int64_t* times);

}  // namespace orrery::kernels::attention
