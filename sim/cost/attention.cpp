#include "sim/cost/attention.h"

#include <algorithm>
#include <cmath>

#include "sim/cost/memory_bound.h"
#include "sim/cost/power.h"
#include "sim/spec/model.h"

namespace orrery {
namespace {

constexpr int64_t kBlock = 128;             // rows and columns of a block of scores
constexpr double kReferenceHeadDims = 256;  // d_qk + d_v of tile_overhead_us
constexpr int64_t kBf16 = 2;
constexpr int64_t kFp32 = 4;

// Head dimensions of all products together: FLOPs are 2 * scores * this.
int64_t forward_dims(const AttentionShape& s) { return s.d_qk + s.d_v; }
int64_t backward_dims(const AttentionShape& s) { return 3 * s.d_qk + 2 * s.d_v; }

int64_t all_heads(const AttentionShape& s) { return s.batch * s.heads; }
int64_t query_rows(const AttentionShape& s) { return all_heads(s) * s.length; }
int64_t key_rows(const AttentionShape& s) {
  return s.batch * (s.kv_heads > 0 ? s.kv_heads : s.heads) * s.length;
}

Flops model_flops(const AttentionShape& s, int64_t dims) {
  const auto length = static_cast<double>(s.length);
  const double scores = s.causal ? causal_scores(s.length, s.window) : length * length;
  return Flops(2 * static_cast<double>(all_heads(s)) * scores * static_cast<double>(dims));
}

// Blocks in the longest row and in a row on average, of a causal mask with or without a window.
struct Blocks {
  double longest, mean;
};
Blocks causal_blocks(int64_t per_head, int64_t window) {
  const auto n = static_cast<double>(per_head);
  const int64_t most = window > 0 ? 1 + ceil_div(window - 1, kBlock) : per_head;
  if (most >= per_head) return {n, 0.5 * (n + 1)};
  const auto w = static_cast<double>(most);
  return {w, w - w * (w - 1) / (2 * n)};  // the first w - 1 rows are shorter
}

double tiles_seconds(const GpuSpec& gpu, const AttentionKernelSpec& spec, const AttentionShape& s,
                     int64_t dims, int64_t sms) {
  const double rate = sm_peak(gpu, spec.peak_TFLOPS.value).count() * spec.mainloop_efficiency.value;
  const double products = 2.0 * static_cast<double>(kBlock * kBlock * dims) / rate;
  const double softmax = spec.softmax_us.value * 1e-6;
  const double block = std::sqrt(products * products + softmax * softmax);
  const double overhead = spec.tile_overhead_us.value * 1e-6 *
                          static_cast<double>(forward_dims(s)) / kReferenceHeadDims;
  const int64_t per_head = ceil_div(s.length, kBlock);
  const int64_t tiles = all_heads(s) * per_head;
  if (tiles == 0) return 0;
  if (!s.causal)
    return static_cast<double>(ceil_div(tiles, sms)) *
           (static_cast<double>(per_head) * block + overhead);
  const Blocks blocks = causal_blocks(per_head, spec.skips_window.value > 0 ? s.window : 0);
  const double longest = blocks.longest * block + overhead;
  const double mean = blocks.mean * block + overhead;
  const double work = static_cast<double>(tiles) * mean;
  return std::max(longest, work / static_cast<double>(sms) + spec.tail.value * longest);
}

double kernel_seconds(const GpuSpec& gpu, const AttentionKernelSpec& spec, Flops flops,
                      double tiles, Bytes bytes, const GpuShare& share) {
  return std::max(
      gpu.kernel_fixed_us.value * 1e-6 +
          throttled_seconds(gpu.power, spec.pJ_per_FLOP.value, flops, bytes, tiles, share),
      memory_bound_seconds(gpu, AccessPattern::kStream, bytes, share));
}

}  // namespace

Flops attention_forward_flops(const AttentionShape& s) { return model_flops(s, forward_dims(s)); }

Flops attention_backward_flops(const AttentionShape& s) { return model_flops(s, backward_dims(s)); }

Bytes attention_forward_bytes(const AttentionShape& s) {
  return Bytes((query_rows(s) + key_rows(s)) * (s.d_qk + s.d_v) * kBf16);
}

Bytes attention_preprocess_bytes(const AttentionShape& s) {
  return Bytes(query_rows(s) * (2 * s.d_v * kBf16 + s.d_qk * kFp32));
}

Bytes attention_backward_bytes(const AttentionShape& s) {
  const int64_t queries = query_rows(s) * ((s.d_qk + s.d_v) * kBf16 + 2 * s.d_qk * kFp32);
  const int64_t keys = key_rows(s) * 2 * (s.d_qk + s.d_v) * kBf16;
  return Bytes(queries + keys);
}

Bytes attention_postprocess_bytes(const AttentionShape& s) {
  return Bytes(query_rows(s) * s.d_qk * (kFp32 + kBf16));
}

double attention_forward_seconds(const GpuSpec& gpu, const AttentionKernelSpec& spec,
                                 const AttentionShape& s, const GpuShare& share) {
  return kernel_seconds(gpu, spec, attention_forward_flops(s),
                        tiles_seconds(gpu, spec, s, forward_dims(s), share.sms),
                        attention_forward_bytes(s), share);
}

double attention_preprocess_seconds(const GpuSpec& gpu, const AttentionShape& s,
                                    const GpuShare& share) {
  return memory_bound_seconds(gpu, AccessPattern::kStream, attention_preprocess_bytes(s), share);
}

double attention_backward_seconds(const GpuSpec& gpu, const AttentionKernelSpec& spec,
                                  const AttentionShape& s, const GpuShare& share) {
  return kernel_seconds(gpu, spec, attention_backward_flops(s),
                        tiles_seconds(gpu, spec, s, backward_dims(s), share.sms),
                        attention_backward_bytes(s), share);
}

double attention_postprocess_seconds(const GpuSpec& gpu, const AttentionShape& s,
                                     const GpuShare& share) {
  return memory_bound_seconds(gpu, AccessPattern::kStream, attention_postprocess_bytes(s), share);
}

}  // namespace orrery
