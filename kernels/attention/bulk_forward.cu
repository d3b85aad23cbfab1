#include <algorithm>

#include "kernels/attention/bulk_forward.cuh"
#include "kernels/attention/bulk_forward.h"

namespace orrery::kernels::attention {
bool bulk_forward_takes(const AttentionShape& s) {
  return s.d_v == bulk::kV && (s.d_qk == 192 || s.d_qk == 128);
}

Status bulk_forward(const AttentionForwardParams& p, cudaStream_t stream) {
  const AttentionShape& s = p.shape;
  bulk::Params b{};
  for (const Status& bad : {map_rows(&b.q, p.q, p.ldq, s.heads * s.d_qk, bulk::kQueries, s),
                            map_rows(&b.k, p.k, p.ldk, s.kv_heads * s.d_qk, bulk::kKeys, s),
                            map_rows(&b.v, p.v, p.ldv, s.kv_heads * s.d_v, bulk::kKeys, s)})
    if (!bad.ok()) return failed(std::string("attention_forward: ").append(bad.error));
  b.shape = s, b.scale = p.scale;
  b.out = p.out, b.ldo = p.ldo, b.lse = p.lse;
  if (Status bad = times_in_l2(s.seq * (s.d_qk + s.d_v) * 2, &b.heads_at_once); !bad.ok())
    return bad;
  b.heads_at_once = std::min(b.heads_at_once * s.group(), s.batch * s.heads);
  return s.d_qk == 192 ? bulk::launch<192>(b, stream) : bulk::launch<128>(b, stream);
}

}  // namespace orrery::kernels::attention
