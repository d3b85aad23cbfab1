#include "kernels/attention/bulk_backward.cuh"
#include "kernels/attention/bulk_backward.h"

namespace orrery::kernels::attention {
namespace {

using bulk_back::Owner;

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
  const int64_t bytes_of_head = s.seq * (s.d_qk + s.d_v) * 2 * (kKeys ? s.group() : 1);
  if (Status bad = times_in_l2(bytes_of_head, &b.heads_at_once); !bad.ok()) return bad;
  if (!kKeys) b.heads_at_once *= s.group();  // heads that read the same
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
