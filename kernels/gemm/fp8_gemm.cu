#include <algorithm>
#include <string>

#include "kernels/base/launch.h"
#include "kernels/base/types.h"
#include "kernels/gemm/fp8_gemm.h"
#include "kernels/gemm/fp8_traits.cuh"
#include "kernels/gemm/tensor_map.h"

namespace orrery::kernels {
namespace fp8_kernel {

// Defined in fp8_kernel.cuh.
template <class T>
Status launch(const char* name, const Params& p, int sms, cudaStream_t stream);

namespace {

struct Instance {
  TileKind kind;
  Fp8Tiling tiling;
  Status (*launch)(const char*, const Params&, int, cudaStream_t);
};

template <TileKind kKind, int kRows, int kCols, bool kPair>
constexpr Instance instance() {
  return {kKind, {kRows, kCols, kPair}, launch<Traits<kKind, kRows, kCols, kPair>>};
}

constexpr Instance kInstances[] = {
    instance<TileKind::kFp8Block, 256, 128, true>(),
    instance<TileKind::kFp8Block, 192, 128, true>(),
    instance<TileKind::kFp8Block, 128, 128, false>(),
    instance<TileKind::kFp8Tiles, 192, 128, true>(),
    instance<TileKind::kFp8Tiles, 128, 128, false>(),
};

// A map of an operand in boxes of `box_rows` rows and 128 of K.
Status map_operand(CUtensorMap* map, const TileOperand& x, int64_t rows, int64_t cols,
                   int box_rows) {
  return make_tensor_map(map, TensorMapKind::kBytes128,
                         {x.data, rows, cols, x.ld, box_rows, kTile});
}

// A map of its scales, a row for each 128 of K.
Status map_scales(CUtensorMap* map, const TileOperand& x, int64_t rows, int64_t cols) {
  return make_tensor_map(map, TensorMapKind::kFloats,
                         {x.scales, tiles(cols), rows, x.tile_stride * 4, 1, kScaleBox});
}

Status make_maps(Params* p, const Fp8Tiling& t, bool block_scales) {
  const TileGemmParams& g = p->gemm;
  const int64_t b_rows = g.grouping == TileGrouping::kRows ? int64_t{g.groups} * g.n : g.n;
  if (Status s = map_operand(&p->a, g.a, g.m, g.k, t.pair ? t.rows / 2 : t.rows); !s.ok()) return s;
  if (Status s = map_operand(&p->b, g.b, b_rows, g.k, t.cols); !s.ok()) return s;
  if (Status s = map_scales(&p->a_scales, g.a, g.m, g.k); !s.ok()) return s;
  return block_scales ? Status{} : map_scales(&p->b_scales, g.b, g.n, g.k);
}

}  // namespace
}  // namespace fp8_kernel

namespace {

bool scales_by_tile(const TileOperand& x) {
  return x.row_stride == 1 && x.tile_stride % 4 == 0 && aligned(x.scales);
}

}  // namespace

bool fp8_gemm_takes(TileKind kind, const TileGemmParams& p) {
  return scales_by_tile(p.a) && (kind == TileKind::kFp8Block || scales_by_tile(p.b));
}

Status fp8_gemm_tiling(TileKind kind, const TileGemmParams& p, Fp8Tiling* tiling) {
  int sms = 0;
  if (Status s = multiprocessors("fp8_gemm", p.sms, &sms); !s.ok()) return s;
  // What one multiprocessor gets of many small groups is not known here.
  const bool small_groups =
      p.grouping == TileGrouping::kRows && p.m < int64_t{p.groups} * 2 * kFp8BlockTilings[0].rows;
  const int64_t matrices = p.grouping == TileGrouping::kDepth ? p.groups : 1;
  if (kind == TileKind::kFp8Tiles)
    *tiling = choose_fp8_tiling(kFp8WgradTilings, p.m * matrices, p.n, sms);
  else if (small_groups)
    *tiling = {128, 128, false};
  else
    *tiling = choose_fp8_tiling(kFp8BlockTilings, p.m, p.n, sms);
  return {};
}

Status fp8_gemm(const char* name, TileKind kind, const TileGemmParams& p, const Fp8Tiling& tiling,
                cudaStream_t stream) {
  for (const fp8_kernel::Instance& i : fp8_kernel::kInstances) {
    if (i.kind != kind || i.tiling != tiling) continue;
    int sms = 0;
    if (Status s = multiprocessors(name, p.sms, &sms); !s.ok()) return s;
    if (sms < (tiling.pair ? 2 : 1))
      return failed(std::string(name).append(": sms is 1, expected 2 for pairs of tiles"));
    fp8_kernel::Params params{};
    params.gemm = p;
    if (Status s = fp8_kernel::make_maps(&params, tiling, kind == TileKind::kFp8Block); !s.ok())
      return failed(std::string(name).append(": ").append(s.error));
    return i.launch(name, params, sms, stream);
  }
  return failed(std::string(name).append(": no such tiling"));
}

Status any_fp8_gemm(const char* name, TileKind kind, const TileGemmParams& p, cudaStream_t stream) {
  if (!fp8_gemm_takes(kind, p)) return tile_gemm(name, kind, p, stream);
  Fp8Tiling tiling;
  if (Status s = fp8_gemm_tiling(kind, p, &tiling); !s.ok()) return s;
  return fp8_gemm(name, kind, p, tiling, stream);
}

}  // namespace orrery::kernels
