// Which template instance serves a shape, and the arguments that forward and backward share.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/base/launch.h"

namespace orrery::kernels::attention {

// Widths of the tiles in shared memory, not below the shape's.
template <int kQk_, int kV_>
struct Widths {
  static constexpr int kQk = kQk_, kV = kV_;
};

// f(Widths<..>{}) with the narrowest instance that holds the shape.
template <class F>
Status with_widths(const AttentionShape& s, F&& f) {
  if (s.d_qk <= 64 && s.d_v <= 64) return f(Widths<64, 64>{});
  if (s.d_qk <= 96 && s.d_v <= 64) return f(Widths<96, 64>{});
  if (s.d_qk <= 128 && s.d_v <= 128) return f(Widths<128, 128>{});
  if (s.d_qk <= 192 && s.d_v <= 128) return f(Widths<192, 128>{});
  return f(Widths<256, 256>{});
}

inline Status check_shape(const char* name, const AttentionShape& s, float scale) {
  return check(
      name,
      {{s.batch >= 0, "batch is negative"},
       {s.seq >= 0 && s.seq <= (1 << 30), "seq is negative or above 2^30"},
       {s.heads > 0, "heads is not positive"},
       {s.kv_heads > 0 && s.heads % s.kv_heads == 0, "kv_heads is not a positive divisor of heads"},
       {s.d_qk > 0 && s.d_qk % 8 == 0 && s.d_qk <= kMaxHeadWidth,
        "d_qk is not a positive multiple of 8, at most 256"},
       {s.d_v > 0 && s.d_v % 8 == 0 && s.d_v <= kMaxHeadWidth,
        "d_v is not a positive multiple of 8, at most 256"},
       {scale > 0, "scale is not positive"},
       {!s.causal || (s.first_query == 0 && s.keys == 0),
        "first_query or keys is given for causal attention"},
       {s.causal || (s.first_query >= 0 && s.first_query <= s.seq),
        "first_query is not within the sequence"},
       {s.causal || s.seq == 0 || (s.keys > 0 && s.keys <= s.seq),
        "keys is not positive, at most seq"},
       // A block per tile of at least 32 rows, and two more per sequence and head.
       {s.seq < 0 || s.heads <= 0 || s.batch <= INT32_MAX / s.heads / (s.seq / 32 + 2),
        "batch · heads · seq is too large"}});
}

struct Operand {
  const char* name;
  const void* data;
  int64_t ld, width;  // elements
};

// Whether every operand can be read, or written, in vectors of eight elements.
inline Status check_operands(const char* name, std::initializer_list<Operand> operands) {
  for (const Operand& o : operands) {
    const std::string what = o.name;
    Status bad =
        check(name, {{o.data != nullptr, what + " is null"},
                     {aligned(o.data), what + " is not 16-byte aligned"},
                     {o.ld >= o.width && o.ld % 8 == 0,
                      "ld of " + what + " is not a multiple of 8, at least heads · width"}});
    if (!bad.ok()) return bad;
  }
  return {};
}

// Starts kernel<<<blocks, threads>>> with more shared memory than a block gets unasked.
template <class Params>
Status launch_tiles(const char* name, void (*kernel)(Params), int64_t blocks, int threads,
                    int shared_bytes, const Params& p, cudaStream_t stream) {
  const cudaError_t e =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (e != cudaSuccess) return failed(std::string(name) + ": " + cudaGetErrorString(e));
  kernel<<<static_cast<unsigned>(blocks), threads, static_cast<std::size_t>(shared_bytes),
           stream>>>(p);
  return launched(name);
}

}  // namespace orrery::kernels::attention
