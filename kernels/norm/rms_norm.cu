#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/norm/rms_norm.h"

namespace orrery::kernels {
namespace {

// One block per row, which it keeps in registers, as BF16, between the two passes: kVecs vectors a
// thread, all of whose loads are in flight together.
template <int kVecs>
class RowShare {
 public:
  __device__ explicit RowShare(const RmsNormParams& p)
      : row_(static_cast<int64_t>(blockIdx.x) * p.cols), vectors_(static_cast<int>(p.cols / kVec)) {
    load(p.x, s_);
  }

  // The norm must see what the backward will see: the sum as BF16.
  __device__ void add(const bf16* addend, const bf16* another) {
    uint4 a[kVecs], b[kVecs];
    load(addend, a);
    if (another != nullptr) load(another, b);
#pragma unroll
    for (int v = 0; v < kVecs; ++v) {
      float s[kVec], x[kVec];
      unpack8(s_[v], s);
      unpack8(a[v], x);
#pragma unroll
      for (int j = 0; j < kVec; ++j) s[j] += x[j];
      if (another != nullptr) {
        unpack8(b[v], x);
#pragma unroll
        for (int j = 0; j < kVec; ++j) s[j] += x[j];
      }
      s_[v] = pack8(s);
    }
  }

  __device__ void store(bf16* to) const {
#pragma unroll
    for (int v = 0; v < kVecs; ++v)
      if (index(v) < vectors_) reinterpret_cast<uint4*>(to + row_)[index(v)] = s_[v];
  }

  __device__ float squares() const {
    float sum = 0;
#pragma unroll
    for (int v = 0; v < kVecs; ++v) {
      float s[kVec];
      unpack8(s_[v], s);
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum += s[j] * s[j];
    }
    return sum;
  }

  __device__ void store_scaled(const bf16* weight, float inverse, bf16* to) const {
#pragma unroll
    for (int v = 0; v < kVecs; ++v) {
      if (index(v) >= vectors_) continue;
      float s[kVec], w[kVec];
      unpack8(s_[v], s);
      load8(weight + index(v) * kVec, w);
#pragma unroll
      for (int j = 0; j < kVec; ++j) s[j] *= inverse * w[j];
      store8(to + row_ + index(v) * kVec, s);
    }
  }

 private:
  __device__ int index(int v) const { return static_cast<int>(v * blockDim.x + threadIdx.x); }
  // Zeros past the end.
  __device__ void load(const bf16* from, uint4 (&to)[kVecs]) const {
#pragma unroll
    for (int v = 0; v < kVecs; ++v)
      to[v] = index(v) < vectors_ ? reinterpret_cast<const uint4*>(from + row_)[index(v)] : uint4{};
  }

  int64_t row_;
  int vectors_;
  uint4 s_[kVecs];
};

// At most 64 registers a thread: enough blocks to have one's loads in flight while another adds up.
template <int kMaxThreads, int kVecs>
__global__ void __launch_bounds__(kMaxThreads, 1024 / kMaxThreads)
    rms_norm_kernel(RmsNormParams p) {
  RowShare<kVecs> share(p);
  const bf16* first = p.addend[0] != nullptr ? p.addend[0] : p.addend[1];
  if (first != nullptr) share.add(first, p.addend[0] != nullptr ? p.addend[1] : nullptr);
  if (p.sum != nullptr) share.store(p.sum);
  const float mean = block_sum<kMaxThreads>(share.squares()) / static_cast<float>(p.cols);
  share.store_scaled(p.weight, rsqrtf(mean + p.eps), p.out);
}

// As few threads as hold a row.
template <int kMaxThreads, int kVecs>
void launch(const RmsNormParams& p, cudaStream_t stream) {
  const int64_t warps = ceil_div(p.cols / kVec, 32 * kVecs);
  rms_norm_kernel<kMaxThreads, kVecs>
      <<<static_cast<unsigned>(p.rows), static_cast<unsigned>(32 * warps), 0, stream>>>(p);
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
  if (vectors <= 128)
    launch<128, 1>(p, stream);
  else if (vectors <= 256)
    launch<128, 2>(p, stream);
  else if (vectors <= 1024)
    launch<256, 4>(p, stream);
  else
    launch<512, 4>(p, stream);
  return launched("rms_norm");
}

}  // namespace orrery::kernels
