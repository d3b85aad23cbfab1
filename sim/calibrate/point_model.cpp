#include "sim/calibrate/point_model.h"

#include <algorithm>

#include "sim/cost/memory_bound.h"

namespace orrery {
namespace {

GpuShare share_of(const GpuSpec& gpu, const MeasuredPoint& p) {
  constexpr double kLeastHbm = 0.05;  // when the other kernel takes all that a copy reaches
  GpuShare s = whole_gpu(gpu);
  s.sms = std::max<int64_t>(1, s.sms - p.beside_sms);
  const double reachable =
      gpu.hbm_bandwidth_GBps.value *
      gpu.hbm_efficiency[static_cast<std::size_t>(AccessPattern::kStream)].value;
  s.hbm_fraction = std::max(kLeastHbm, 1 - p.beside_GBps / reachable);
  return s;
}

double kernel_seconds(const GpuSpec& gpu, const MeasuredPoint& p, const GpuShare& share) {
  switch (p.family) {
    case Family::kGemmBf16:
    case Family::kGemmFp8:
    case Family::kGemmFp8Wgrad:
    case Family::kGemmFp8Tensor:
      return gemm_seconds(gpu, p.gemm, share);
    case Family::kAttentionForward:
      return attention_forward_seconds(gpu, gpu.attention_forward, p.attention, share);
    case Family::kAttentionBackward:
      return attention_preprocess_seconds(gpu, p.attention, share) +
             attention_backward_seconds(gpu, gpu.attention_backward, p.attention, share) +
             attention_postprocess_seconds(gpu, p.attention, share);
    case Family::kMemoryBound:
      return memory_bound_seconds(gpu, p.pattern, p.bytes, share);
    case Family::kL2Copy:
    case Family::kLaunch:
    case Family::kCollective:
      break;
  }
  return 0;
}

}  // namespace

PointWork point_work(const MeasuredPoint& p) {
  switch (p.family) {
    case Family::kGemmBf16:
    case Family::kGemmFp8:
    case Family::kGemmFp8Wgrad:
    case Family::kGemmFp8Tensor:
      return {gemm_flops(p.gemm), gemm_bytes(p.gemm)};
    case Family::kAttentionForward:
      return {attention_forward_flops(p.attention), attention_forward_bytes(p.attention)};
    case Family::kAttentionBackward:
      return {attention_backward_flops(p.attention), attention_backward_bytes(p.attention)};
    default:
      return {};
  }
}

double point_seconds(const GpuSpec& gpu, const MeasuredPoint& p, double clock) {
  GpuShare share = share_of(gpu, p);
  share.clock = clock;
  const double kernel = kernel_seconds(gpu, p, share);
  return kernel > 0 ? kernel + gpu.launch_gap_us.value * 1e-6 : 0;
}

}  // namespace orrery
