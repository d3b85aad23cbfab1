// How the rows of a norm's backward are split among its blocks.
#pragma once

#include <cstdint>

namespace orrery::kernels {

// Blocks of rms_norm_backward, each of which writes one row of partial weight gradients: a fixed
// number, so that sums do not depend on the GPU. One block per SM of an H100.
constexpr int64_t kNormBlocks = 132;

// First row of block `b`'s contiguous range, which ends where that of block b + 1 begins; ranges
// differ by at most one row and may be empty.
constexpr int64_t norm_block_begin(int64_t b, int64_t rows) { return b * rows / kNormBlocks; }

}  // namespace orrery::kernels
