// The sum of a batch's losses.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"

namespace orrery::kernels {

// *loss_sum += the sum of row_loss[0 ... rows), taken in FP64 and always in the same order.
Status add_loss_sum(int64_t rows, const float* row_loss, float* loss_sum, cudaStream_t stream);

}  // namespace orrery::kernels
