#include <string>

#include "kernels/base/launch.h"
#include "kernels/gemm/bf16_gemm.h"
#include "kernels/gemm/bf16_traits.cuh"
#include "kernels/gemm/tensor_map.h"

namespace orrery::kernels {
namespace bf16_kernel {

// Defined in bf16_kernel.cuh.
template <class T>
Status launch(const char* name, const Params& p, int sms, cudaStream_t stream);

namespace {

struct Instance {
  TileKind kind;
  int cols;
  Status (*launch)(const char*, const Params&, int, cudaStream_t);
};

template <TileKind kKind, int kCols>
constexpr Instance instance() {
  return {kKind, kCols, launch<Traits<kKind, kCols>>};
}

constexpr Instance kInstances[] = {
    instance<TileKind::kBf16Nt, 256>(), instance<TileKind::kBf16Nt, 128>(),
    instance<TileKind::kBf16Nn, 256>(), instance<TileKind::kBf16Nn, 128>(),
    instance<TileKind::kBf16Tn, 256>(), instance<TileKind::kBf16Tn, 128>(),
};

// A map of an operand with `width` rows of A or columns of B, of which a tile has `tile_width`.
Status map_operand(CUtensorMap* map, const TileOperand& x, bool strided, int64_t width, int64_t k,
                   int tile_width, int64_t matrices) {
  constexpr int kElementBytes = 2;
  TensorMapShape s;
  s.data = x.data;
  s.rows = strided ? k : width, s.cols = strided ? width : k;
  s.row_bytes = x.ld * kElementBytes;
  s.box_rows = strided ? kStepDepth : tile_width;
  s.box_cols = strided ? kAtomCols : kStepDepth;
  s.matrices = matrices;
  s.matrix_bytes = matrices > 1 ? x.group_stride * kElementBytes : s.rows * s.row_bytes;
  return make_tensor_map(map, TensorMapKind::kBf16, s);
}

Status make_maps(Params* p, TileKind kind, int cols) {
  const TileGemmParams& g = p->gemm;
  const bool a_strided = kind == TileKind::kBf16Tn, b_strided = kind != TileKind::kBf16Nt;
  if (Status s = map_operand(&p->a, g.a, a_strided, g.m, g.k, kBf16TileRows, 1); !s.ok()) return s;
  const int64_t matrices = g.grouping == TileGrouping::kRows ? g.groups : 1;
  return map_operand(&p->b, g.b, b_strided, g.n, g.k, cols, matrices);
}

}  // namespace
}  // namespace bf16_kernel

Status bf16_gemm(const char* name, TileKind kind, const TileGemmParams& p, cudaStream_t stream) {
  int sms = 0;
  if (Status s = multiprocessors(name, p.sms, &sms); !s.ok()) return s;
  const int64_t matrices = p.grouping == TileGrouping::kDepth ? p.groups : 1;
  const int cols = bf16_tile_cols(p.m, p.n, matrices, sms);
  for (const bf16_kernel::Instance& i : bf16_kernel::kInstances) {
    if (i.kind != kind || i.cols != cols) continue;
    bf16_kernel::Params params{};
    params.gemm = p;
    if (Status s = bf16_kernel::make_maps(&params, kind, cols); !s.ok())
      return failed(std::string(name).append(": ").append(s.error));
    return i.launch(name, params, sms, stream);
  }
  return failed(std::string(name).append(": unknown kind of tile"));
}

}  // namespace orrery::kernels
