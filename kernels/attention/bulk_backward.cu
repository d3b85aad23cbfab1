#include <algorithm>

#include "kernels/attention/bulk_backward.cuh"
#include "kernels/attention/bulk_backward.h"
#include "kernels/gemm/tensor_map.h"

namespace orrery::kernels::attention {
namespace {

using bulk_back::Owner;

// Boxes of box_rows tokens and 64 columns of x, whose rows have `width` columns.
Status map_rows(CUtensorMap* map, const bf16* x, int64_t ld, int64_t width, int box_rows,
                const AttentionShape& s) {
  TensorMapShape t;
  t.data = x, t.rows = s.seq, t.cols = width, t.row_bytes = ld * 2;
  t.box_rows = box_rows, t.box_cols = bulk_back::kChunk;
  t.matrices = s.batch, t.matrix_bytes = s.seq * ld * 2;
  return make_tensor_map(map, TensorMapKind::kBf16, t);
}

template <Owner kOwner>
Status launch(const BackwardParams& p, cudaStream_t stream) {
  constexpr bool kKeys = kOwner == Owner::kKeys;
  const AttentionShape& s = p.shape;
  bulk_back::Params b{};
  b.p = p;
  const int of_query = kKeys ? bulk_back::kWalked : bulk_back::kOwned;
  const int of_key = kKeys ? bulk_back::kOwned : bulk_back::kWalked;
  for (const Status& bad :
       {map_rows(kKeys ? &b.walked_qk : &b.owned_qk, p.q, p.ldq, s.heads * s.d_qk, of_query, s),
        map_rows(kKeys ? &b.walked_v : &b.owned_v, p.dout, p.lddo, s.heads * s.d_v, of_query, s),
        map_rows(kKeys ? &b.owned_qk : &b.walked_qk, p.k, p.ldk, s.kv_heads * s.d_qk, of_key, s),
        map_rows(kKeys ? &b.owned_v : &b.walked_v, p.v, p.ldv, s.kv_heads * s.d_v, of_key, s)})
    if (!bad.ok()) return failed(std::string("attention_backward: ").append(bad.error));
  constexpr int64_t kShareOfL2 = int64_t{40} << 20;
  const int64_t bytes_of_head = s.seq * (s.d_qk + s.d_v) * 2 * (kKeys ? s.group() : 1);
  const int64_t sharing = kKeys ? 1 : s.group();  // heads that read the same
  b.heads_at_once = std::max<int64_t>(1, kShareOfL2 / bytes_of_head * sharing);
  return s.d_qk == 192 ? bulk_back::launch<192, kOwner>(b, stream)
                       : bulk_back::launch<128, kOwner>(b, stream);
}

}  // namespace

bool bulk_backward_takes(const AttentionShape& s) {
  return s.d_v == bulk_back::kV && (s.d_qk == 192 || s.d_qk == 128);
}

Status bulk_backward(const BackwardParams& p, cudaStream_t stream) {
  if (Status bad = launch<Owner::kKeys>(p, stream); !bad.ok()) return bad;
  return launch<Owner::kQueries>(p, stream);
}

}  // namespace orrery::kernels::attention
