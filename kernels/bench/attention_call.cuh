// An attention layer on random data, for what times its forward and its backward.
#pragma once

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/bench/measure.cuh"

namespace orrery::kernels::bench {

struct AttentionCall {
  explicit AttentionCall(const AttentionShape& s)
      : shape(s), workspace_bytes(attention_backward_workspace(s)) {}

  AttentionForwardParams forward() const {
    AttentionForwardParams f;
    f.shape = shape, f.scale = scale;
    f.q = q.get(), f.ldq = ldq, f.k = k.get(), f.ldk = ldk, f.v = v.get(), f.ldv = ldv;
    f.out = out.get(), f.ldo = ldo, f.lse = lse.get();
    return f;
  }
  // After a forward, whose output and log-sum-exp it reads.
  AttentionBackwardParams backward() const {
    AttentionBackwardParams b;
    b.shape = shape, b.scale = scale;
    b.q = q.get(), b.ldq = ldq, b.k = k.get(), b.ldk = ldk, b.v = v.get(), b.ldv = ldv;
    b.out = out.get(), b.ldo = ldo, b.dout = dout.get(), b.lddo = ldo, b.lse = lse.get();
    b.dq = dq.get(), b.lddq = ldq, b.dk = dk.get(), b.lddk = ldk, b.dv = dv.get(), b.lddv = ldv;
    b.workspace = workspace.get(), b.workspace_bytes = workspace_bytes;
    return b;
  }
  double input_bytes() const { return q.bytes() + k.bytes() + v.bytes(); }

  AttentionShape shape;
  float scale = 1 / std::sqrt(static_cast<float>(shape.d_qk));
  int64_t ldq = shape.heads * shape.d_qk, ldk = shape.kv_heads * shape.d_qk;
  int64_t ldo = shape.heads * shape.d_v, ldv = shape.kv_heads * shape.d_v;
  Buffer<bf16> q{shape.tokens() * ldq, 1}, k{shape.tokens() * ldk, 2}, v{shape.tokens() * ldv, 3};
  Buffer<bf16> dq{shape.tokens() * ldq}, dk{shape.tokens() * ldk}, dv{shape.tokens() * ldv};
  Buffer<bf16> out{shape.tokens() * ldo}, dout{shape.tokens() * ldo, 4};
  Buffer<float> lse{shape.tokens() * shape.heads};
  std::size_t workspace_bytes;
  Buffer<float> workspace{static_cast<int64_t>(workspace_bytes / sizeof(float))};
};

}  // namespace orrery::kernels::bench
