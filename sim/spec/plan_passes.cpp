#include <fmt/format.h>

#include "sim/spec/plan_rules.h"

namespace orrery {
namespace {

std::string micro_batches_text(const PlanSpec& p) {
  return fmt::format("global_batch {} / (data_parallel {} x micro_batch {}) = {}", p.global_batch,
                     p.data_parallel, p.micro_batch, p.micro_batches());
}

void check_chunks(const PlanSpec& p, std::vector<std::string>& out) {
  const auto name = kScheduleNames[static_cast<std::size_t>(p.schedule)];
  const bool interleaved = p.schedule == ScheduleKind::kInterleaved1F1B;
  if (interleaved && p.virtual_pipeline < 2)
    out.push_back(fmt::format("schedule {} needs virtual_pipeline of at least 2, found {}", name,
                              p.virtual_pipeline));
  if (has_v_shape(p.schedule) && p.virtual_pipeline != 2)
    out.push_back(
        fmt::format("schedule {} has virtual_pipeline 2, found {}", name, p.virtual_pipeline));
  if (!interleaved && !has_v_shape(p.schedule) && p.virtual_pipeline != 1)
    out.push_back(
        fmt::format("schedule {} has one model chunk per rank, but virtual_pipeline is {};"
                    " use interleaved_1f1b, zb_v or dualpipe_v",
                    name, p.virtual_pipeline));
  if ((interleaved || has_v_shape(p.schedule)) && p.pipeline_parallel < 2)
    out.push_back(fmt::format("schedule {} needs pipeline_parallel of at least 2, found {}", name,
                              p.pipeline_parallel));
}

void check_schedule(const PlanSpec& p, std::vector<std::string>& out) {
  check_chunks(p, out);
  const int64_t m = p.micro_batches(), ranks = p.pipeline_parallel;
  const auto name = kScheduleNames[static_cast<std::size_t>(p.schedule)];
  if (p.schedule == ScheduleKind::kInterleaved1F1B && m % ranks != 0)
    out.push_back(
        fmt::format("schedule {} needs a number of micro-batches that pipeline_parallel {} divides;"
                    " found {}",
                    name, ranks, micro_batches_text(p)));
  if (p.schedule == ScheduleKind::kDualPipeV && m < 2 * ranks)
    out.push_back(
        fmt::format("schedule {} needs at least 2 x pipeline_parallel = {} micro-batches;"
                    " found {}",
                    name, 2 * ranks, micro_batches_text(p)));
  if (p.schedule != ScheduleKind::kDualPipe) return;
  if (ranks % 2 != 0)
    out.push_back(
        fmt::format("schedule dualpipe needs an even pipeline_parallel, found {}", ranks));
  if (m % 2 != 0 || m < 2 * ranks)
    out.push_back(
        fmt::format("schedule dualpipe needs an even number of micro-batches, at least 2 "
                    "x pipeline_parallel = {}; found {}",
                    2 * ranks, micro_batches_text(p)));
}

// The kernels of a GPU's profile that the recipe's products need.
std::vector<std::pair<std::string_view, bool>> needed_kernels(Precision p, const GpuSpec& gpu) {
  switch (p) {
    case Precision::kFp8:
      return {{"gemm_fp8", gpu.gemm_fp8.exists()}, {"gemm_fp8_wgrad", gpu.gemm_fp8_wgrad.exists()}};
    case Precision::kFp8Delayed:
    case Precision::kFp8Current:
    case Precision::kFp8Rowwise:
      return {{"gemm_fp8_tensor", gpu.gemm_fp8_tensor.exists()}};
    case Precision::kMxfp8:
      return {{"gemm_mxfp8", gpu.gemm_mxfp8.exists()}};
    case Precision::kNvfp4:
      return {{"gemm_nvfp4", gpu.gemm_nvfp4.exists()}};
    default:
      return {};
  }
}

void check_precision(const PlanSpec& p, const ClusterSpec& c, std::vector<std::string>& out) {
  const GpuSpec& gpu = c.node.gpu;
  for (const auto& [kernel, exists] : needed_kernels(p.precision, gpu))
    if (!exists)
      out.push_back(
          fmt::format("precision {} needs the kernel {}, which the profile of {} does not "
                      "have",
                      kPrecisionNames[static_cast<std::size_t>(p.precision)], kernel, gpu.name));
}

void check_fp8_attention(const PlanSpec& p, std::vector<std::string>& out) {
  if (p.fp8_attention && p.context_parallel > 1)
    out.push_back(
        fmt::format("fp8_attention with context_parallel {}: what travels between the ranks of a "
                    "sequence in FP8 is not modelled",
                    p.context_parallel));
}

void check_overlap(const PlanSpec& p, std::vector<std::string>& out) {
  const ScheduleKind s = p.schedule;
  if (p.overlap_expert_parallel &&
      (s == ScheduleKind::kGPipe || s == ScheduleKind::kZbH1 || s == ScheduleKind::kZbV))
    out.push_back(
        fmt::format("overlap_expert_parallel is true, but schedule {} never runs a "
                    "forward beside a backward",
                    kScheduleNames[static_cast<std::size_t>(s)]));
}

void check_recompute(const PlanSpec& p, std::vector<std::string>& out) {
  const Recompute& r = p.recompute;
  if (r.full != FullRecompute::kNone && (r.norms || r.mla_up || r.swiglu || r.attention))
    out.push_back(
        fmt::format("recompute.full is \"{}\", which computes whole layers again; leave out norms, "
                    "mla_up, swiglu and attention",
                    kFullRecomputeNames[static_cast<std::size_t>(r.full)]));
}

void check_every_second_product(const PlanSpec& p, const ModelSpec& m,
                                std::vector<std::string>& out) {
  const Recompute& r = p.recompute;
  if (!r.every_second_product) return;
  if (r.norms || r.mla_up || r.swiglu || r.attention || r.full != FullRecompute::kNone)
    out.push_back("recompute every_second_product includes what the other kinds of recompute name");
  if (m.experts > 0 || m.attention != AttentionKind::kGqa || m.dropout > 0 ||
      m.block != BlockForm::kSequential)
    out.push_back(
        "recompute every_second_product is for dense layers with grouped-query attention, one "
        "block after the other, without dropout");
  if (p.context_parallel > 1 || p.precision == Precision::kFp8)
    out.push_back(fmt::format(
        "recompute every_second_product does not go with context_parallel {} or precision {}",
        p.context_parallel, kPrecisionNames[static_cast<std::size_t>(p.precision)]));
}

}  // namespace

void check_passes(const PlanSpec& p, const ModelSpec& m, const ClusterSpec& c,
                  std::vector<std::string>& out) {
  check_schedule(p, out);
  check_precision(p, c, out);
  check_fp8_attention(p, out);
  check_overlap(p, out);
  check_recompute(p, out);
  check_every_second_product(p, m, out);
}

}  // namespace orrery
