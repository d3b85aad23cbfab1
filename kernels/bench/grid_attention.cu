#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/bench/grid_timing.cuh"

namespace orrery::kernels::bench {
namespace {

GridPoint point(const char* family, const AttentionShape& s) {
  GridPoint p;
  p.family = family, p.kernel = "own";
  p.numbers = {{"batch", s.batch}, {"heads", s.heads}, {"kv_heads", s.kv_heads},
               {"length", s.seq},  {"d_qk", s.d_qk},   {"d_v", s.d_v}};
  return p;
}

std::vector<GridPoint> attention(const AttentionShape& s) {
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
  GridPoint forward = point("attention_forward", s);
  forward.us = repeats_of([&](int, cudaStream_t stream) { return attention_forward(f, stream); },
                          kUntilSteady);

  const std::size_t workspace_bytes = attention_backward_workspace(s);
  const Buffer<float> workspace(static_cast<int64_t>(workspace_bytes / sizeof(float)));
  AttentionBackwardParams b;
  b.shape = s, b.scale = f.scale;
  b.q = q.get(), b.ldq = ldq, b.k = k.get(), b.ldk = ldk, b.v = v.get(), b.ldv = ldv;
  b.out = out.get(), b.ldo = ldo, b.dout = dout.get(), b.lddo = ldo, b.lse = lse.get();
  b.dq = dq.get(), b.lddq = ldq, b.dk = dk.get(), b.lddk = ldk, b.dv = dv.get(), b.lddv = ldv;
  b.workspace = workspace.get(), b.workspace_bytes = workspace_bytes;
  GridPoint backward = point("attention_backward", s);
  backward.us = repeats_of([&](int, cudaStream_t stream) { return attention_backward(b, stream); },
                           kUntilSteady);
  return {forward, backward};
}

// DeepSeek-V3's heads, Llama 3's, and small ones.
constexpr AttentionShape kShapes[] = {
    {1, 4096, 128, 128, 192, 128}, {1, 4096, 16, 16, 192, 128}, {1, 16384, 16, 16, 192, 128},
    {1, 2048, 64, 64, 192, 128},   {4, 1024, 16, 16, 192, 128}, {1, 8192, 32, 32, 192, 128},
    {1, 4096, 128, 128, 128, 128}, {1, 4096, 64, 8, 128, 128},  {2, 8192, 32, 8, 128, 128},
    {1, 2048, 32, 8, 128, 128},    {4, 1024, 32, 32, 128, 128}, {1, 16384, 16, 16, 128, 128},
    {1, 4096, 32, 32, 64, 64},     {4, 2048, 16, 16, 64, 64},   {1, 8192, 64, 64, 64, 64},
    {8, 1024, 12, 12, 64, 64},     {1, 32768, 8, 8, 128, 128},  {2, 4096, 64, 64, 192, 128}};

}  // namespace

std::vector<GridTask> attention_grid() {
  std::vector<GridTask> tasks;
  for (const AttentionShape& s : kShapes)
    tasks.push_back({"attention", [s] { return attention(s); }});
  return tasks;
}

}  // namespace orrery::kernels::bench
