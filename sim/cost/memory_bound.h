// Time of a kernel that is limited by HBM: norms, casts, transposes, RoPE, permutations, SwiGLU.
//
//   seconds = kernel_fixed_us + bytes / (HBM bandwidth * efficiency[pattern] * available fraction)
//
// Bytes are the distinct bytes read plus those written, scale factors included; reads that hit L2
// because the kernel before just wrote them are not discounted (residual additions reach 96 % of
// the HBM peak that way).
//
// The efficiencies have no stand-alone publication. Each is fitted so that the model's sum over the
// pattern's kernels in layers 0 and 1 of DeepSeek's H800 training trace is the measured sum, an
// all-to-all on 20 SMs running beside most of them, whose share of the HBM is thus in the fit: pass
// hbm_fraction below 1 only for contention beyond that. Held out, layers 2 and 3: 3.5 % short in
// total, patterns within 11 %; the median kernel is off by 5 to 20 %. RMSNorm is the worst: its
// backward is launched on 132 CTAs and takes two rounds on the 112 SMs that an all-to-all leaves
// (179 us), one on a whole GPU (97 us); the constant is the mixture.
// Ignored: kernels too small to fill the GPU (below about 8 MB expect 30 % low), limits per SM, so
// SMs do not matter as long as about half of the GPU is there.
#pragma once

#include "sim/cost/roofline.h"

namespace orrery {

double memory_bound_seconds(const GpuSpec& gpu, AccessPattern pattern, Bytes bytes,
                            const GpuShare& share);

}  // namespace orrery
