#include "kernels/gemm/grouped.h"

#include "kernels/gemm/bf16_gemm.h"
#include "kernels/gemm/empty_groups.h"
#include "kernels/gemm/fp8_gemm.h"
#include "kernels/quant/arguments.h"

namespace orrery::kernels {
namespace {

TileGemmParams rows_params(int64_t groups, int64_t max_rows, int64_t n, int64_t k,
                           const int32_t* offsets, void* c) {
  TileGemmParams t;
  t.grouping = TileGrouping::kRows;
  t.m = static_cast<int>(max_rows), t.n = static_cast<int>(n), t.k = static_cast<int>(k);
  t.groups = static_cast<int>(groups);
  t.offsets = offsets;
  t.c = c, t.ldc = n;
  return t;
}

TileGemmParams depth_params(int64_t group, int64_t groups, int64_t m, int64_t n,
                            const int32_t* offsets, float* c) {
  TileGemmParams t;
  t.grouping = TileGrouping::kDepth;
  t.m = static_cast<int>(m), t.n = static_cast<int>(n);
  t.group = static_cast<int>(group), t.groups = static_cast<int>(groups);
  t.offsets = offsets;
  t.c = c, t.ldc = n;
  return t;
}

TileOperand operand(const Fp8View& x) {
  TileOperand o;
  o.data = x.data, o.ld = x.cols;
  o.scales = x.scales, o.row_stride = x.row_stride, o.tile_stride = x.tile_stride;
  return o;
}

}  // namespace

Status grouped_gemm_bf16(const GroupedGemmBf16Params& p, cudaStream_t stream) {
  constexpr const char* kName = "grouped_gemm_bf16";
  const bool used = p.groups > 0 && p.max_rows > 0 && p.n > 0;
  if (Status s = check(kName, {{p.layout != Layout::kTN, "layout is kTN, expected kNT or kNN"},
                               at_least("groups", p.groups, 0),
                               at_most("groups", p.groups, 1 << 20),
                               at_least("max_rows", p.max_rows, 0),
                               at_most("max_rows", p.max_rows, 1 << 30),
                               multiple_of("n", p.n, 8),
                               multiple_of("k", p.k, 8),
                               at_least("k", p.k, 8),
                               pointer("offsets", p.offsets, used),
                               vector_pointer("a", p.a, used),
                               vector_pointer("b", p.b, used),
                               vector_pointer("c", p.c, used)});
      !s.ok() || !used)
    return s;
  TileGemmParams t = rows_params(p.groups, p.max_rows, p.n, p.k, p.offsets, p.c);
  const bool nt = p.layout == Layout::kNT;
  t.a.data = p.a, t.a.ld = p.k;
  t.b.data = p.b, t.b.ld = nt ? p.k : p.n;
  t.b.group_stride = p.n * p.k;
  return bf16_gemm(kName, nt ? TileKind::kBf16Nt : TileKind::kBf16Nn, t, stream);
}

Status grouped_gemm_fp8(const GroupedGemmFp8Params& p, cudaStream_t stream) {
  constexpr const char* kName = "grouped_gemm_fp8";
  const bool used = p.groups > 0 && p.max_rows > 0 && p.n > 0;
  if (Status s = check(
          kName, {at_least("groups", p.groups, 0), at_most("groups", p.groups, 1 << 20),
                  at_least("max_rows", p.max_rows, 0), at_most("max_rows", p.max_rows, 1 << 30),
                  multiple_of("n", p.n, 16), multiple_of("k", p.k, 16), at_least("k", p.k, 16),
                  equal("a.rows", p.a.rows, p.max_rows), equal("a.cols", p.a.cols, p.k),
                  equal("b.rows", p.b.rows, p.n), equal("b.cols", p.b.cols, p.k),
                  pointer("offsets", p.offsets, used), vector_pointer("a.data", p.a.data, used),
                  pointer("a.scales", p.a.scales, used), vector_pointer("b.data", p.b.data, used),
                  pointer("b.scales", p.b.scales, used), vector_pointer("c", p.c, used)});
      !s.ok() || !used)
    return s;
  TileGemmParams t = rows_params(p.groups, p.max_rows, p.n, p.k, p.offsets, p.c);
  t.a = operand(p.a);
  t.b.data = p.b.data, t.b.ld = p.k;
  t.b.scales = p.b.scales, t.b.row_stride = tiles(p.k), t.b.tile_stride = 1;
  t.b.group_stride = p.n * p.k, t.b.group_scales = tiles(p.n) * tiles(p.k);
  t.sms = p.sms;
  return any_fp8_gemm(kName, TileKind::kFp8Block, t, stream);
}

Status group_wgrad_bf16(const GroupWgradBf16Params& p, cudaStream_t stream) {
  constexpr const char* kName = "group_wgrad_bf16";
  const bool writes = p.groups > 0 && p.m > 0 && p.n > 0;
  const bool used = writes && (p.rows > 0 || !p.accumulate);
  if (Status s = check(
          kName,
          {at_least("group", p.group, 0), at_most("group", p.group, 1 << 20),
           at_least("groups", p.groups, 0), at_most("groups", p.groups, 1 << 20),
           at_least("rows", p.rows, 0), at_most("rows", p.rows, 1 << 30), multiple_of("m", p.m, 8),
           multiple_of("n", p.n, 8), pointer("offsets", p.offsets, used),
           vector_pointer("a", p.a, writes && p.rows > 0),
           vector_pointer("b", p.b, writes && p.rows > 0), vector_pointer("c", p.c, used)});
      !s.ok() || !used)
    return s;
  if (!p.accumulate) {
    Status s = zero_empty_groups({p.group, p.groups, p.offsets, p.m * p.n, p.c}, stream);
    if (!s.ok() || p.rows == 0) return s;
  }
  TileGemmParams t = depth_params(p.group, p.groups, p.m, p.n, p.offsets, p.c);
  t.k = static_cast<int>(p.rows);
  t.accumulate = p.accumulate;
  t.a.data = p.a, t.a.ld = p.m;
  t.b.data = p.b, t.b.ld = p.n;
  t.c_group_stride = p.m * p.n;
  return bf16_gemm(kName, TileKind::kBf16Tn, t, stream);
}

Status group_wgrad_fp8(const GroupWgradFp8Params& p, cudaStream_t stream) {
  constexpr const char* kName = "group_wgrad_fp8";
  const bool writes = p.groups > 0 && p.m > 0 && p.n > 0, reads = writes && p.a.cols > 0;
  const bool used = reads || (writes && !p.accumulate);
  if (Status s = check(
          kName, {at_least("group", p.group, 0), at_most("group", p.group, 1 << 20),
                  at_least("groups", p.groups, 0), at_most("groups", p.groups, 1 << 20),
                  at_least("m", p.m, 0), multiple_of("n", p.n, 8), equal("a.rows", p.a.rows, p.m),
                  equal("b.rows", p.b.rows, p.n), multiple_of("a.cols", p.a.cols, 16),
                  equal("b.cols", p.b.cols, p.a.cols), pointer("offsets", p.offsets, used),
                  vector_pointer("a.data", p.a.data, reads), pointer("a.scales", p.a.scales, reads),
                  vector_pointer("b.data", p.b.data, reads), pointer("b.scales", p.b.scales, reads),
                  vector_pointer("c", p.c, used)});
      !s.ok() || !used)
    return s;
  if (!p.accumulate) {
    Status s = zero_empty_groups({p.group, p.groups, p.offsets, p.m * p.n, p.c}, stream);
    if (!s.ok() || !reads) return s;
  }
  TileGemmParams t = depth_params(p.group, p.groups, p.m, p.n, p.offsets, p.c);
  t.k = static_cast<int>(p.a.cols);
  t.accumulate = p.accumulate;
  t.a = operand(p.a), t.b = operand(p.b);
  t.c_group_stride = p.m * p.n;
  t.sms = p.sms;
  return any_fp8_gemm(kName, TileKind::kFp8Tiles, t, stream);
}

}  // namespace orrery::kernels
