#include "kernels/base/items.cuh"
#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/vec.cuh"
#include "kernels/optimizer/muon.h"
#include "kernels/quant/arguments.h"

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
static_assert(kThreads == kMuonPartialSums);  // a thread of muon_normalise reads one

// Block x of kMuonPartialSums works on every kMuonPartialSums-th stretch of matrix y.
__device__ inline int64_t first_item() {
  return (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVec;
}
constexpr int64_t kItemStride = static_cast<int64_t>(kMuonPartialSums) * kThreads * kVec;

struct MomentumFactors {
  float mu, max_norm;
};

template <class Moment>
__global__ void __launch_bounds__(kThreads)
    momentum_kernel(MuonMomentumParams p, MomentumFactors f) {
  const int64_t base = static_cast<int64_t>(blockIdx.y) * p.elements;
  Moment* momentum = static_cast<Moment*>(p.momentum) + base;
  float clip = 1;
  if (f.max_norm > 0) {
    clip = f.max_norm / (sqrtf(*p.norm_squared) + 1e-6f);
    if (clip > 1) clip = 1;  // unlike fminf, keeps a NaN
  }
  double squares = 0;
  for (int64_t at = first_item(); at < p.elements; at += kItemStride) {
    float g[kVec], m[kVec], u[kVec];
    load8(p.grads + base + at, g);
    load8(momentum + at, m);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      g[j] *= clip;
      m[j] = f.mu * m[j] + g[j];
      u[j] = round_bf16(g[j] + f.mu * m[j]);
      squares += static_cast<double>(u[j] * u[j]);
    }
    store8(momentum + at, m);
    store8(p.update + base + at, u);
  }
  squares = block_sum<kThreads>(squares);
  if (threadIdx.x == 0)
    p.squares[static_cast<int64_t>(blockIdx.y) * kMuonPartialSums + blockIdx.x] =
        static_cast<float>(squares);
}

__global__ void __launch_bounds__(kThreads) normalise_kernel(MuonNormaliseParams p) {
  const int64_t base = static_cast<int64_t>(blockIdx.y) * p.elements;
  const double squares = block_sum<kThreads>(static_cast<double>(
      p.squares[static_cast<int64_t>(blockIdx.y) * kMuonPartialSums + threadIdx.x]));
  const float scale = static_cast<float>(1 / (sqrt(squares) + p.floor));
  for (int64_t at = first_item(); at < p.elements; at += kItemStride) {
    float x[kVec];
    load8(p.update + base + at, x);
#pragma unroll
    for (int j = 0; j < kVec; ++j) x[j] *= scale;
    store8(p.x + base + at, x);
  }
}

struct UpdateFactors {
  float keep, rate;
};

__global__ void __launch_bounds__(kItemThreads) update_kernel(MuonUpdateParams p, UpdateFactors f) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kItemThreads + threadIdx.x) * kVec;
  if (at >= p.n) return;
  float x[kVec], w[kVec];
  load8(p.x + at, x);
  load8(p.master + at, w);
#pragma unroll
  for (int j = 0; j < kVec; ++j) w[j] = w[j] * f.keep - f.rate * x[j];
  store8(p.master + at, w);
  if (p.weights_out != nullptr) store8(p.weights_out + at, w);
}

Check stack(int64_t matrices, int64_t elements) {
  return {matrices >= 0 && matrices <= kMaxGridYz && elements >= 0 && elements % kVec == 0,
          "matrices is not in [0, 65535] or elements not a multiple of 8"};
}

dim3 grid(int64_t matrices) { return {kMuonPartialSums, static_cast<unsigned>(matrices)}; }

}  // namespace

Status muon_momentum(const MuonMomentumParams& p, cudaStream_t stream) {
  const bool none = p.matrices == 0 || p.elements == 0;
  Status bad =
      check("muon_momentum", {stack(p.matrices, p.elements),
                              {none || (p.momentum && p.grads && p.update && p.squares),
                               "momentum, grads, update or squares is null"},
                              {aligned(p.momentum) && aligned(p.grads) && aligned(p.update),
                               "momentum, grads or update is not 16-byte aligned"},
                              {p.moments == MomentType::kBf16 || p.moments == MomentType::kFp32,
                               "moments is neither BF16 nor FP32"},
                              {p.mu >= 0 && p.mu < 1, "mu is not in [0, 1)"},
                              {p.max_norm >= 0, "max_norm is negative"},
                              {none || p.max_norm == 0 || p.norm_squared,
                               "norm_squared is null although max_norm is set"}});
  if (!bad.ok() || none) return bad;
  const auto kernel =
      p.moments == MomentType::kBf16 ? momentum_kernel<bf16> : momentum_kernel<float>;
  kernel<<<grid(p.matrices), kThreads, 0, stream>>>(
      p, {static_cast<float>(p.mu), static_cast<float>(p.max_norm)});
  return launched("muon_momentum");
}

Status muon_normalise(const MuonNormaliseParams& p, cudaStream_t stream) {
  const bool none = p.matrices == 0 || p.elements == 0;
  Status bad = check("muon_normalise",
                     {stack(p.matrices, p.elements),
                      {none || (p.update && p.squares && p.x), "update, squares or x is null"},
                      {aligned(p.update) && aligned(p.x), "update or x is not 16-byte aligned"},
                      {p.floor >= 0, "floor is negative"}});
  if (!bad.ok() || none) return bad;
  normalise_kernel<<<grid(p.matrices), kThreads, 0, stream>>>(p);
  return launched("muon_normalise");
}

Status muon_update(const MuonUpdateParams& p, cudaStream_t stream) {
  Status bad = check("muon_update", {{p.n >= 0 && p.n % kVec == 0, "n is not a multiple of 8"},
                                     {p.n / kVec / kItemThreads < kMaxItems, "n is above 2^42"},
                                     {p.n == 0 || (p.x && p.master), "x or master is null"},
                                     {aligned(p.x) && aligned(p.master) && aligned(p.weights_out),
                                      "x, master or weights_out is not 16-byte aligned"}});
  if (!bad.ok() || p.n == 0) return bad;
  update_kernel<<<item_blocks(p.n / kVec), kItemThreads, 0, stream>>>(
      p, {static_cast<float>(1 - p.lr * p.weight_decay), static_cast<float>(p.rate)});
  return launched("muon_update");
}

}  // namespace orrery::kernels
