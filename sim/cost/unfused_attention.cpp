#include "sim/cost/unfused_attention.h"

#include "sim/cost/gemm.h"
#include "sim/cost/memory_bound.h"

namespace orrery {
namespace {

class Pass {
 public:
  Pass(const GpuSpec& gpu, const AttentionShape& s, const GpuShare& share)
      : gpu_(gpu), s_(s), share_(share), heads_(s.batch * s.heads) {}

  // Every head's [m, k] x [k, n].
  double products(int64_t m, int64_t n, int64_t k) const {
    return gemm_seconds(gpu_, {.m = heads_ * m, .n = n, .k = k, .groups = heads_}, share_);
  }
  double map(AccessPattern pattern, int64_t bytes_per_score) const {
    return memory_bound_seconds(gpu_, pattern,
                                Bytes(heads_ * s_.length * s_.length * bytes_per_score), share_);
  }

 private:
  const GpuSpec& gpu_;
  const AttentionShape& s_;
  const GpuShare& share_;
  int64_t heads_;
};

}  // namespace

double unfused_attention_forward_seconds(const GpuSpec& gpu, const AttentionShape& s, bool dropout,
                                         const GpuShare& share) {
  const Pass p(gpu, s, share);
  return p.products(s.length, s.length, s.d_qk) + p.map(AccessPattern::kRowReduce, 4) +
         (dropout ? p.map(AccessPattern::kStream, 5) : 0) + p.products(s.length, s.d_v, s.length);
}

double unfused_attention_backward_seconds(const GpuSpec& gpu, const AttentionShape& s, bool dropout,
                                          const GpuShare& share) {
  const Pass p(gpu, s, share);
  return p.products(s.length, s.length, s.d_v) + p.products(s.length, s.d_v, s.length) +
         (dropout ? p.map(AccessPattern::kStream, 5) : 0) + p.map(AccessPattern::kRowReduce, 6) +
         2 * p.products(s.length, s.d_qk, s.length);
}

}  // namespace orrery
