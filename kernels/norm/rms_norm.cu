#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/norm/rms_norm.h"

namespace orrery::kernels {
namespace {

// One block per row, which it keeps in registers between the two passes: kVecs vectors a thread.
template <int kThreads, int kVecs>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormParams p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * p.cols;
  const int vectors = static_cast<int>(p.cols / kVec);
  float s[kVecs][kVec];
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) continue;
    const int64_t at = row + i * kVec;
    load8(p.x + at, s[v]);
#pragma unroll
    for (int a = 0; a < 2; ++a) {
      if (p.addend[a] == nullptr) continue;
      float addend[kVec];
      load8(p.addend[a] + at, addend);
#pragma unroll
      for (int j = 0; j < kVec; ++j) s[v][j] += addend[j];
    }
    // The norm must see what the backward will see.
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      s[v][j] = round_bf16(s[v][j]);
      squares += s[v][j] * s[v][j];
    }
    if (p.sum != nullptr) store8(p.sum + at, s[v]);
  }
  const float mean = block_sum<kThreads>(squares) / static_cast<float>(p.cols);
  const float inverse = rsqrtf(mean + p.eps);
#pragma unroll
  for (int v = 0; v < kVecs; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) continue;
    float weight[kVec];
    load8(p.weight + i * kVec, weight);
#pragma unroll
    for (int j = 0; j < kVec; ++j) s[v][j] *= inverse * weight[j];
    store8(p.out + row + i * kVec, s[v]);
  }
}

template <int kThreads, int kVecs>
void launch(const RmsNormParams& p, cudaStream_t stream) {
  rms_norm_kernel<kThreads, kVecs><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p);
}

}  // namespace

Status rms_norm(const RmsNormParams& p, cudaStream_t stream) {
  const bool addends = p.addend[0] != nullptr || p.addend[1] != nullptr;
  Status bad = check(
      "rms_norm",
      {{p.rows >= 0 && p.rows <= INT32_MAX, "rows is negative or above 2^31 - 1"},
       {p.cols > 0 && p.cols % kVec == 0, "cols is not a positive multiple of 8"},
       {p.cols <= kMaxNormCols, "cols is above 16384"},
       {p.rows == 0 || (p.x && p.weight && p.out), "x, weight or out is null"},
       {p.rows == 0 || !addends || p.sum != nullptr, "sum is null although there is an addend"},
       {aligned(p.x) && aligned(p.addend[0]) && aligned(p.addend[1]) && aligned(p.weight) &&
            aligned(p.sum) && aligned(p.out),
        "x, addend, weight, sum or out is not 16-byte aligned"}});
  if (!bad.ok() || p.rows == 0) return bad;
  const int64_t vectors = p.cols / kVec;
  if (vectors <= 32)
    launch<32, 1>(p, stream);
  else if (vectors <= 64)
    launch<64, 1>(p, stream);
  else if (vectors <= 128)
    launch<128, 1>(p, stream);
  else if (vectors <= 256)
    launch<128, 2>(p, stream);
  else if (vectors <= 512)
    launch<256, 2>(p, stream);
  else if (vectors <= 1024)
    launch<256, 4>(p, stream);
  else
    launch<512, 4>(p, stream);
  return launched("rms_norm");
}

}  // namespace orrery::kernels
