// The file of one calibration run: what a machine did, point by point, before anything is fitted.
//
//   {"schema_version": 2, "date": "2026-11-28", "seconds": what the run took,
//    "device": {"gpu", "multiprocessors", "memory_GiB", "highest_sm_clock_MHz",
//               "highest_memory_clock_MHz", "power_limit_W"},
//    "software": {"driver", "cuda_of_driver", "cuda", "cublaslt", "nccl"},
//    "reference": [{"at_s", "us", "sm_clock_MHz", "temperature_C", "power_W"}],
//    "points": [{"family", "kernel", its shape, "us": [one for each repeat],
//                "sm_clock_MHz": of the multiprocessors during the repeats}],
//    "skipped": [what could not be measured, and why]}
//
// A point's time is that of one of many launches that follow each other, so it holds the gap
// between two kernels. Shapes by family:
//   gemm_*        m, n, k; groups and grouped ("m", "k"); output ("bf16", "fp32",
//                 "fp32_accumulate")
//   attention_*   batch, heads, kv_heads, length, d_qk, d_v, causal (true)
//   memory_bound  pattern, bytes (read and written); about: "pattern" or "kernel", what the point
//                 determines constants of
//   l2_copy       bytes, of a copy that stays in L2
//   launch        kernel "graph", "stream": of empty kernels that follow each other, one;
//                 "idle": between two small ones of a graph, the time in which no thread runs;
//                 "host": the CPU's time to launch one
//   collective    kernel: "all_reduce", ..; ranks, nodes, bytes (as nccl-tests counts them)
// "beside_sms" and "beside_GBps" say what another kernel took at the same time: multiprocessors,
// and bytes read and written. Such points check the models; nothing is fitted on them.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "sim/cost/attention.h"
#include "sim/cost/gemm.h"
#include "sim/net/collectives/collective.h"

namespace orrery {

enum class Family : uint8_t {
  kGemmBf16,
  kGemmFp8,
  kGemmFp8Wgrad,
  kGemmFp8Tensor,
  kAttentionForward,
  kAttentionBackward,
  kMemoryBound,
  kL2Copy,
  kLaunch,
  kCollective,
};
constexpr int kFamilies = 10;
extern const std::string_view kFamilyNames[kFamilies];
extern const std::string_view kCollectiveNames[kCollectives];  // "all_reduce", ...

struct MeasuredPoint {
  Family family = Family::kGemmBf16;
  std::string kernel;
  std::vector<double> us;   // repeats, in their order
  double sm_clock_MHz = 0;  // during the repeats; 0: the file does not say
  GemmShape gemm;
  AttentionShape attention;
  AccessPattern pattern = AccessPattern::kStream;
  Collective collective = Collective::kAllReduce;
  int64_t ranks = 1, nodes = 1;
  Bytes bytes{0};
  bool about_kernel = false;  // fits no constant of its pattern, only its kernel's own
  int64_t beside_sms = 0;
  double beside_GBps = 0;

  bool shared() const { return beside_sms > 0 || beside_GBps > 0; }
  double median_us() const;
  std::string shape_text() const;  // "4096 x 2112 x 7168", "128 heads of 4096, 192/128", ...
};

// The same kernel on the same data, from the first second of the run to the last.
struct ReferenceRepeat {
  double at_s = 0, us = 0;
  double sm_clock_MHz = 0, temperature_C = 0, power_W = 0;  // 0: the driver did not say
};

struct Measured {
  std::string date, gpu;
  int64_t multiprocessors = 0;
  double memory_GiB = 0;
  double highest_sm_clock_MHz = 0, highest_memory_clock_MHz = 0;
  double power_limit_W = 0;  // 0: the driver did not say
  std::string driver, cuda_of_driver, cuda, cublaslt, nccl;
  std::vector<ReferenceRepeat> reference;
  std::vector<MeasuredPoint> points;

  // As a part of the highest; 0: the file does not say.
  double clock_of(const MeasuredPoint& p) const {
    return highest_sm_clock_MHz > 0 ? std::min(1.0, p.sm_clock_MHz / highest_sm_clock_MHz) : 0;
  }
};

// Throws InputError naming the place: an unknown family or key, a time that is not positive, no
// point at all.
Measured read_measured(const json::Node& file);

}  // namespace orrery
