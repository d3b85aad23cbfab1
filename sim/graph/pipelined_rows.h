// Tensor-parallel products whose rows travel around the ranks in blocks, one rank's rows each,
// while other blocks are computed: what hides the collectives of sequence parallelism (Transformer
// Engine's userbuffers, PyTorch's asynchronous tensor parallelism; arXiv 2105.05720).
//
// Step j of t works on the block that comes from rank r - j, for a sum on that of rank r - j - 1:
// the same shapes on all ranks, so one graph. OpShape::index is j + 1; of what transposes the
// scales of a block, j + 2 in a sum.
#pragma once

#include "sim/graph/stage_builder.h"

namespace orrery {

// Products of column-parallel layers with all ranks' rows of `operand`, BF16 or FP8: t - 1
// exchanges, each beside the products with the block before.
std::vector<TensorId> pipelined_column_forward(StageBuilder& b,
                                               const std::vector<StageBuilder::Linear>& layers,
                                               TensorId operand);

// This rank's rows of the sum over ranks of a row-parallel layer's products: the product with a
// block goes to the rank whose rows it is of, beside the next one, and each rank adds what it got
// at the end, all t parts in one kernel.
TensorId pipelined_row_forward(StageBuilder& b, const StageBuilder::Linear& l, TensorId operand);

// Input gradient of a row-parallel layer in BF16 from all ranks' rows of dy, which are kept.
StageBuilder::RowGrad pipelined_row_dgrad(StageBuilder& b, const StageBuilder::Linear& l,
                                          TensorId dy);

}  // namespace orrery
