// TFLOPS of attention on shapes of some models, counting the causal half of 2 products forward (of
// depths d_qk and d_v) and 5 backward (3 d_qk + 2 d_v), however many the kernels compute.
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/quant/bench.cuh"

using namespace orrery::kernels;
using namespace orrery::kernels::bench;

namespace {

void report(const char* what, const AttentionShape& s, int64_t depths, double seconds) {
  const double pairs =
      static_cast<double>(s.batch * s.heads) * static_cast<double>(s.seq * (s.seq + 1) / 2);
  std::printf(
      "%-9s batch %2ld seq %6ld heads %4ld / %-4ld widths %4ld / %-4ld %10.1f us %7.0f TFLOPS\n",
      what, s.batch, s.seq, s.heads, s.kv_heads, s.d_qk, s.d_v, seconds * 1e6,
      2e-12 * pairs * static_cast<double>(depths) / seconds);
}

void measure(const AttentionShape& s) {
  const int64_t ldq = s.heads * s.d_qk, ldk = s.kv_heads * s.d_qk;
  const int64_t ldo = s.heads * s.d_v, ldv = s.kv_heads * s.d_v;
  const Buffer<bf16> q(s.tokens() * ldq), k(s.tokens() * ldk), v(s.tokens() * ldv);
  const Buffer<bf16> dq(s.tokens() * ldq), dk(s.tokens() * ldk), dv(s.tokens() * ldv);
  const Buffer<bf16> out(s.tokens() * ldo), dout(s.tokens() * ldo);
  const Buffer<float> lse(s.tokens() * s.heads);
  const std::size_t workspace_bytes = attention_backward_workspace(s);
  const Buffer<float> workspace(static_cast<int64_t>(workspace_bytes / sizeof(float)));
  const float scale = 1 / std::sqrt(static_cast<float>(s.d_qk));
  const AttentionForwardParams forward{.shape = s,
                                       .scale = scale,
                                       .q = q.get(),
                                       .ldq = ldq,
                                       .k = k.get(),
                                       .ldk = ldk,
                                       .v = v.get(),
                                       .ldv = ldv,
                                       .out = out.get(),
                                       .ldo = ldo,
                                       .lse = lse.get()};
  const AttentionBackwardParams backward{.shape = s,
                                         .scale = scale,
                                         .q = q.get(),
                                         .ldq = ldq,
                                         .k = k.get(),
                                         .ldk = ldk,
                                         .v = v.get(),
                                         .ldv = ldv,
                                         .out = out.get(),
                                         .ldo = ldo,
                                         .dout = dout.get(),
                                         .lddo = ldo,
                                         .lse = lse.get(),
                                         .dq = dq.get(),
                                         .lddq = ldq,
                                         .dk = dk.get(),
                                         .lddk = ldk,
                                         .dv = dv.get(),
                                         .lddv = ldv,
                                         .workspace = workspace.get(),
                                         .workspace_bytes = workspace_bytes};
  report("forward", s, s.d_qk + s.d_v,
         seconds([&] { return attention_forward(forward, nullptr); }));
  report("backward", s, 3 * s.d_qk + 2 * s.d_v,
         seconds([&] { return attention_backward(backward, nullptr); }));
}

}  // namespace

int main() {
  measure({1, 4096, 128, 128, 192, 128});  // DeepSeek-V3
  measure({4, 4096, 16, 16, 192, 128});
  measure({1, 16384, 16, 16, 192, 128});
  measure({1, 4096, 64, 8, 128, 128});  // Llama 3 70B
  measure({1, 8192, 32, 8, 128, 128});
  measure({4, 4096, 32, 32, 64, 64});
  measure({4, 4096, 32, 32, 96, 64});
  return 0;
}
