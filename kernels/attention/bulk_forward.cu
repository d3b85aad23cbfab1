#include <algorithm>

#include "kernels/attention/bulk_forward.cuh"
#include "kernels/attention/bulk_forward.h"

namespace orrery::kernels::attention {
namespace {

// Boxes of 128 tokens and 64 columns of x, whose rows have `width` columns.
Status map_rows(CUtensorMap* map, const bf16* x, int64_t ld, int64_t width,
                const AttentionShape& s) {
  TensorMapShape t;
  t.data = x, t.rows = s.seq, t.cols = width, t.row_bytes = ld * 2;
  t.box_rows = bulk::kKeys, t.box_cols = bulk::kChunk;
  t.matrices = s.batch, t.matrix_bytes = s.seq * ld * 2;
  return make_tensor_map(map, TensorMapKind::kBf16, t);
}

}  // namespace

bool bulk_forward_takes(const AttentionShape& s) {
  return s.d_v == bulk::kV && (s.d_qk == 192 || s.d_qk == 128);
}

Status bulk_forward(const AttentionForwardParams& p, cudaStream_t stream) {
  const AttentionShape& s = p.shape;
  bulk::Params b{};
  for (const Status& bad : {map_rows(&b.q, p.q, p.ldq, s.heads * s.d_qk, s),
                            map_rows(&b.k, p.k, p.ldk, s.kv_heads * s.d_qk, s),
                            map_rows(&b.v, p.v, p.ldv, s.kv_heads * s.d_v, s)})
    if (!bad.ok()) return failed(std::string("attention_forward: ").append(bad.error));
  b.shape = s, b.scale = p.scale;
  b.out = p.out, b.ldo = p.ldo, b.lse = p.lse;
  constexpr int64_t kShareOfL2 = int64_t{40} << 20;
  const int64_t bytes_of_head = s.seq * (s.d_qk + s.d_v) * 2;
  b.heads_at_once = std::clamp<int64_t>(kShareOfL2 / bytes_of_head * s.group(), 1,
                                        std::max<int64_t>(1, s.batch * s.heads));
  return s.d_qk == 192 ? bulk::launch<192>(b, stream) : bulk::launch<128>(b, stream);
}

}  // namespace orrery::kernels::attention
