// The maps of Muon's step (sim/graph/muon.h has the formulas); its products are batched GEMMs
// (kernels/gemm/batched.h). Arrays are 16-byte aligned; `matrices` equal ones of `elements` each, a
// multiple of 8, follow each other.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"
#include "kernels/optimizer/adamw.h"

namespace orrery::kernels {

constexpr int kMuonPartialSums = 256;  // of the squares of one matrix

// With g = grads · min(1, max_norm / (sqrt(*norm_squared) + 1e-6)):
//   momentum = mu · momentum + g; update = g + mu · momentum, the momentum before it is rounded to
//   the type that it is kept in
//   squares[matrix, i]: parts of the sum of squares of the rounded update
struct MuonMomentumParams {
  int64_t matrices = 0, elements = 0;
  void* momentum = nullptr;
  MomentType moments = MomentType::kFp32;
  const float* grads = nullptr;
  bf16* update = nullptr;
  float* squares = nullptr;  // [matrices, kMuonPartialSums]
  double mu = 0;
  const float* norm_squared = nullptr;  // on the device; may be null without clipping
  double max_norm = 0;                  // 0: no clipping
};
Status muon_momentum(const MuonMomentumParams& p, cudaStream_t stream);

// x = update / (sqrt(sum of the matrix's squares) + floor).
struct MuonNormaliseParams {
  int64_t matrices = 0, elements = 0;
  const bf16* update = nullptr;
  const float* squares = nullptr;  // [matrices, kMuonPartialSums]
  double floor = 0;
  bf16* x = nullptr;
};
Status muon_normalise(const MuonNormaliseParams& p, cudaStream_t stream);

// master -= lr · weight_decay · master + rate · x.
struct MuonUpdateParams {
  int64_t n = 0;  // a multiple of 8
  const bf16* x = nullptr;
  float* master = nullptr;
  bf16* weights_out = nullptr;  // master rounded to BF16; may be null
  double lr = 0, rate = 0, weight_decay = 0;
};
Status muon_update(const MuonUpdateParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
