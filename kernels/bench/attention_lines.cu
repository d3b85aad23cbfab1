#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/bench/bench.h"
#include "kernels/bench/measure.cuh"

namespace orrery::kernels::bench {
namespace {

// FLOPs count the causal half of 2 products forward (of depths d_qk and d_v) and 5 backward (3 d_qk
// + 2 d_v), however many the kernels compute.
Line line(const char* kernel, const AttentionShape& s, int64_t depths, double bytes) {
  Line l;
  l.kernel = kernel, l.bound = Bound::kBf16, l.bytes = bytes;
  l.shape = "batch " + std::to_string(s.batch) + " seq " + std::to_string(s.seq) + " heads " +
            std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " widths " +
            std::to_string(s.d_qk) + "/" + std::to_string(s.d_v);
  const double pairs =
      static_cast<double>(s.batch * s.heads) * static_cast<double>(s.seq * (s.seq + 1) / 2);
  l.flops = 2 * pairs * static_cast<double>(depths);
  return l;
}

void attention(const AttentionShape& s, std::vector<Line>* lines) {
  const int64_t ldq = s.heads * s.d_qk, ldk = s.kv_heads * s.d_qk;
  const int64_t ldo = s.heads * s.d_v, ldv = s.kv_heads * s.d_v;
  const Buffer<bf16> q(s.tokens() * ldq, 1), k(s.tokens() * ldk, 2), v(s.tokens() * ldv, 3);
  const Buffer<bf16> dq(s.tokens() * ldq), dk(s.tokens() * ldk), dv(s.tokens() * ldv);
  const Buffer<bf16> out(s.tokens() * ldo), dout(s.tokens() * ldo, 4);
  const Buffer<float> lse(s.tokens() * s.heads);
  AttentionForwardParams f;
  f.shape = s, f.scale = 1 / std::sqrt(static_cast<float>(s.d_qk));
  f.q = q.get(), f.ldq = ldq, f.k = k.get(), f.ldk = ldk, f.v = v.get(), f.ldv = ldv;
  f.out = out.get(), f.ldo = ldo, f.lse = lse.get();
  const double inputs = q.bytes() + k.bytes() + v.bytes();
  Line forward = line("attention_forward", s, s.d_qk + s.d_v, inputs + out.bytes());
  forward.us = 1e6 * seconds([&](int) { return attention_forward(f, nullptr); });
  lines->push_back(forward);

  const std::size_t workspace_bytes = attention_backward_workspace(s);
  const Buffer<float> workspace(static_cast<int64_t>(workspace_bytes / sizeof(float)));
  AttentionBackwardParams b;
  b.shape = s, b.scale = f.scale;
  b.q = q.get(), b.ldq = ldq, b.k = k.get(), b.ldk = ldk, b.v = v.get(), b.ldv = ldv;
  b.out = out.get(), b.ldo = ldo, b.dout = dout.get(), b.lddo = ldo, b.lse = lse.get();
  b.dq = dq.get(), b.lddq = ldq, b.dk = dk.get(), b.lddk = ldk, b.dv = dv.get(), b.lddv = ldv;
  b.workspace = workspace.get(), b.workspace_bytes = workspace_bytes;
  Line backward =
      line("attention_backward", s, 3 * s.d_qk + 2 * s.d_v, 2 * inputs + 2 * out.bytes());
  backward.us = 1e6 * seconds([&](int) { return attention_backward(b, nullptr); });
  lines->push_back(backward);
}

}  // namespace

std::vector<Line> bench_attention() {
  std::vector<Line> lines;
  attention({1, 4096, 128, 128, 192, 128}, &lines);  // DeepSeek-V3
  attention({1, 4096, 16, 16, 192, 128}, &lines);
  attention({1, 16384, 16, 16, 192, 128}, &lines);
  attention({1, 4096, 128, 128, 128, 128}, &lines);
  attention({1, 4096, 64, 8, 128, 128}, &lines);  // Llama 3 70B
  return lines;
}

}  // namespace orrery::kernels::bench
