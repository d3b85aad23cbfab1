#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/loss/loss_sum.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 512;

__global__ void __launch_bounds__(kThreads)
    loss_sum_kernel(int64_t rows, const float* row_loss, float* loss_sum) {
  double sum = 0;
  for (int64_t r = threadIdx.x; r < rows; r += kThreads) sum += row_loss[r];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *loss_sum += static_cast<float>(sum);
}

}  // namespace

Status add_loss_sum(int64_t rows, const float* row_loss, float* loss_sum, cudaStream_t stream) {
  loss_sum_kernel<<<1, kThreads, 0, stream>>>(rows, row_loss, loss_sum);
  return launched("loss_sum");
}

}  // namespace orrery::kernels
