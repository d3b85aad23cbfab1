// What the two warpgroups of a block of bulk_backward.cuh compute.
#pragma once

#include "kernels/attention/bulk_backward_task.cuh"
#include "kernels/gemm/tile_epilogue.cuh"

namespace orrery::kernels::attention::bulk_back {

template <int kQk, Owner kOwner>
class Consumer {
  static constexpr bool kKeys = kOwner == Owner::kKeys;
  using Scores = float[kWalked / 2];  // of 64 rows, by this thread
  using Packed = uint32_t[kWalked / 16][4];

 public:
  __device__ Consumer(const Params& params, const Task& t, const Shared<kQk>& shared)
      : p_(params.p),
        task_(t),
        shared_(shared),
        scale_log2_(params.p.scale * kLog2E),
        group_(static_cast<int>(threadIdx.x - kProducerThreads) / 128),
        row_(t.first + group_ * 64 +
             static_cast<int>(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4)) {}

  __device__ void run() {
    float d_qk[kQk / 2], d_v[kKeys ? kV / 2 : 1];
#pragma unroll
    for (int i = 0; i < kQk / 2; ++i) d_qk[i] = 0;
#pragma unroll
    for (int i = 0; i < (kKeys ? kV / 2 : 1); ++i) d_v[i] = 0;
    load_own_rows();
    const Pairs pairs(p_.shape);
    const int own = task_.first + group_ * 64;
    barrier_wait(shared_.owned_full(), 0);
    RingPosition<kStages> at;
#pragma unroll 1
    for (int walk = 0; walk < task_.walks; ++walk) {
#pragma unroll 1
      for (int i = 0; i < task_.count; ++i) {
        const int walked = (task_.begin + i) * kWalked;
        const int query = kKeys ? walked : own, key = kKeys ? own : walked;
        barrier_wait(shared_.full(at.stage), at.parity);
        if (!pairs.all_hidden(query + 64, key))
          add(d_qk, d_v, at.stage, walked, pairs.some_hidden(query, key, 64));
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(shared_.empty(at.stage));
        at.advance();
      }
    }
    store(d_qk, d_v);
  }

 private:
  template <int kCount, int kVCount>
  __device__ void add(float (&d_qk)[kCount], float (&d_v)[kVCount], int stage, int walked,
                      bool masked) {
    if constexpr (kKeys && kQk > kV)
      add_in_steps(d_qk, d_v, stage, walked, masked);
    else
      add_at_once(d_qk, d_v, stage, walked, masked);
  }

  template <int kCount, int kVCount>
  __device__ void add_at_once(float (&d_qk)[kCount], float (&d_v)[kVCount], int stage, int walked,
                              bool masked) {
    Scores p, ds;
    set_zero(p);
    set_zero(ds);
    start<kQk>(p, shared_.owned_qk(), shared_.walked_qk(stage));
    start<kV>(ds, shared_.owned_v(), shared_.walked_v(stage));
    wgmma_wait<1>();
    keep_in_place(p);
    const QueryRow* rows = shared_.rows(stage) + threadIdx.x % 4 * 2;
    probabilities(p, rows);
    if (masked) mask(p, walked);
    add_products(d_qk, d_v, p, ds, rows, stage);
  }

  // The same with fewer registers: the scores' gradients start when probabilities are there.
  template <int kCount, int kVCount>
  __device__ void add_in_steps(float (&d_qk)[kCount], float (&d_v)[kVCount], int stage, int walked,
                               bool masked) {
    Scores p, ds;
    const QueryRow* rows = shared_.rows(stage) + threadIdx.x % 4 * 2;
    set_zero(p);
    start<kQk>(p, shared_.owned_qk(), shared_.walked_qk(stage));
    wgmma_wait<0>();
    keep_in_place(p);
    probabilities(p, rows);
    if (masked) mask(p, walked);
    set_zero(ds);
    start<kV>(ds, shared_.owned_v(), shared_.walked_v(stage));
    add_products(d_qk, d_v, p, ds, rows, stage);
  }

  // Once dout · v is there, as ds: the scores' gradients, and their products and those of the
  // probabilities p with what is walked over.
  template <int kCount, int kVCount>
  __device__ void add_products(float (&d_qk)[kCount], float (&d_v)[kVCount], const Scores& p,
                               Scores& ds, const QueryRow* rows, int stage) {
    wgmma_wait<0>();
    keep_in_place(ds);
#pragma unroll
    for (int i = 0; i < kWalked / 2; ++i) ds[i] = p[i] * (ds[i] - delta(rows, i));
    Packed packed, packed_p;
    if constexpr (kKeys) pack(p, packed_p);
    pack(ds, packed);
    keep_in_place(d_qk);
    keep_in_place(d_v);
    wgmma_fence();
    if constexpr (kKeys) multiply(d_v, packed_p, shared_.walked_v(stage));
    multiply(d_qk, packed, shared_.walked_qk(stage));
    wgmma_commit();
    wgmma_wait<0>();
    keep_in_place(d_qk);
    keep_in_place(d_v);
  }

  __device__ static void set_zero(Scores& x) {
#pragma unroll
    for (int i = 0; i < kWalked / 2; ++i) x[i] = 0;
  }

  // rows: of this thread's first walked query.
  __device__ float delta(const QueryRow* rows, int i) const {
    return (kKeys ? rows[i / 4 * 8 + i % 2] : own_[i / 2 % 2]).delta;
  }

  // d := own rows · walked rows, of kDepth columns.
  template <int kDepth>
  __device__ void start(Scores& d, uint32_t owned, uint32_t walked) const {
    const uint64_t a = matrix_descriptor(owned + group_ * 64 * kAtomRowBytes, 0);
    const uint64_t b = matrix_descriptor(walked, 0);
    keep_in_place(d);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kDepth / 16; ++i)
      wgmma_bf16(d, a + ((i / 4 * kOwnedChunk + i % 4 * 32) >> 4),
                 b + ((i / 4 * kWalkedChunk + i % 4 * 32) >> 4), i > 0);
    wgmma_commit();
  }

  template <int kCount>
  __device__ static void multiply(float (&d)[kCount], const Packed& a, uint32_t walked) {
    const uint64_t b = matrix_descriptor(walked, kWalkedChunk);
#pragma unroll
    for (int i = 0; i < kWalked / 16; ++i)
      wgmma_bf16_registers(d, a[i], b + i * (16 * kAtomRowBytes >> 4));
  }

  // Of this thread's two queries. Zeros past the end.
  __device__ void load_own_rows() {
    if constexpr (!kKeys) {
      const AttentionShape& s = p_.shape;
      const QueryRow* from = p_.rows_of(task_.sequence, task_.head);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        own_[h] = row_ + 8 * h < s.seq ? from[row_ + 8 * h] : QueryRow{0, 0};
    }
  }

  // rows: of this thread's first walked query.
  __device__ void probabilities(Scores& p, const QueryRow* rows) const {
#pragma unroll
    for (int i = 0; i < kWalked / 2; ++i) {
      const float lse = (kKeys ? rows[i / 4 * 8 + i % 2] : own_[i / 2 % 2]).lse_log2;
      p[i] = exp2_approx(fmaf(p[i], scale_log2_, -lse));
    }
  }

  // Hidden pairs. walked: the first row of what is walked over.
  __device__ void mask(Scores& p, int walked) const {
    const Pairs pairs(p_.shape);
    walked += threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kWalked / 2; ++i) {
      const int a = row_ + i / 2 % 2 * 8, b = walked + i / 4 * 8 + i % 2;
      if (kKeys ? pairs.hidden(b, a) : pairs.hidden(a, b)) p[i] = 0;
    }
  }

  __device__ static void pack(const Scores& x, Packed& to) {
#pragma unroll
    for (int i = 0; i < kWalked / 16; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) to[i][j] = pack_bf16x2(x[8 * i + 2 * j], x[8 * i + 2 * j + 1]);
  }

  template <int kCount, int kVCount>
  __device__ void store(float (&d_qk)[kCount], float (&d_v)[kVCount]) const {
    const int64_t token = task_.sequence * p_.shape.seq;
    const int end = static_cast<int>(p_.shape.seq);
#pragma unroll
    for (int i = 0; i < kCount; ++i) d_qk[i] *= p_.scale;
    const int64_t ld = kKeys ? p_.lddk : p_.lddq;
    bf16* to = (kKeys ? p_.dk : p_.dq) + token * ld + task_.head * kQk;
    store_bf16<kQk>(d_qk, to, ld, row_, end, 0, kQk);
    if constexpr (kKeys)
      store_bf16<kV>(d_v, p_.dv + token * p_.lddv + task_.head * kV, p_.lddv, row_, end, 0, kV);
  }

  const BackwardParams& p_;
  const Task task_;
  const Shared<kQk> shared_;
  float scale_log2_;
  int group_, row_;
  QueryRow own_[2] = {};
};

}  // namespace orrery::kernels::attention::bulk_back
