#include "sim/calibrate/measured.h"

#include <fmt/format.h>

#include "sim/base/casts.h"
#include "sim/base/text.h"
#include "sim/calibrate/robust.h"

namespace orrery {

const std::string_view kFamilyNames[kFamilies] = {
    "gemm_bf16",          "gemm_fp8",     "gemm_fp8_wgrad", "gemm_fp8_tensor", "attention_forward",
    "attention_backward", "memory_bound", "l2_copy",        "launch",          "collective"};
const std::string_view kCollectiveNames[kCollectives] = {"all_reduce", "reduce_scatter",
                                                         "all_gather", "all_to_all", "send_recv"};

namespace {

using json::Range;
using json::Reader;

constexpr Range kSize{1, 1e12};
constexpr Range kBytes{1, 1e15};

bool is_gemm(Family f) { return at(f) <= at(Family::kGemmFp8Tensor); }
bool is_attention(Family f) {
  return f == Family::kAttentionForward || f == Family::kAttentionBackward;
}

GemmShape read_gemm_shape(Reader& r, Family family) {
  GemmShape s;
  if (family == Family::kGemmFp8) s.kernel = GemmKernel::kFp8;
  if (family == Family::kGemmFp8Wgrad) s.kernel = GemmKernel::kFp8Wgrad;
  if (family == Family::kGemmFp8Tensor) s.kernel = GemmKernel::kFp8Tensor;
  const GemmOutput usual =
      family == Family::kGemmFp8Wgrad ? GemmOutput::kFp32Accumulate : GemmOutput::kBf16;
  s.output = static_cast<GemmOutput>(r.choice_or("output", at(usual), kGemmOutputNames));
  s.m = r.integer("m", kSize), s.n = r.integer("n", kSize), s.k = r.integer("k", kSize);
  s.groups = r.integer_or("groups", 1, kSize);
  if (family == Family::kGemmBf16 && s.groups > 1) s.kernel = GemmKernel::kBf16Grouped;
  constexpr std::string_view kDims[2] = {"m", "k"};
  s.grouped = static_cast<GroupedDim>(r.choice_or("grouped", 0, kDims));
  return s;
}

AttentionShape read_attention_shape(Reader& r) {
  AttentionShape s;
  s.batch = r.integer("batch", kSize), s.heads = r.integer("heads", kSize);
  s.kv_heads = r.integer_or("kv_heads", 0), s.length = r.integer("length", kSize);
  s.d_qk = r.integer("d_qk", kSize), s.d_v = r.integer("d_v", kSize);
  s.causal = r.boolean_or("causal", true);
  return s;
}

std::vector<double> read_times(Reader& r) {
  std::vector<double> us;
  const json::Node* times = r.raw("us");
  if (times == nullptr || times->kind != json::Node::Kind::kArray || times->items.empty()) {
    r.fail("us", "expected an array of microseconds, one for each repeat");
    return {1};
  }
  for (const json::Node& t : times->items) {
    if (t.number > 0 && t.number < 1e9) {
      us.push_back(t.number);
      continue;
    }
    r.fail("us", "found a time that is not between 0 and 1e9 us");
    return {1};
  }
  return us;
}

MeasuredPoint read_point(Reader& r) {
  MeasuredPoint p;
  p.family = static_cast<Family>(r.choice("family", kFamilyNames));
  if (p.family == Family::kCollective) {
    p.collective = static_cast<Collective>(r.choice("kernel", kCollectiveNames));
    p.kernel = kCollectiveNames[at(p.collective)];
    p.ranks = r.integer("ranks", {2, 1e6}), p.nodes = r.integer_or("nodes", 1, {1, 1e6});
  } else if (p.family == Family::kLaunch) {
    constexpr std::string_view kHow[4] = {"stream", "graph", "idle", "host"};
    p.kernel = kHow[r.choice("kernel", kHow)];
  } else {
    p.kernel = r.string("kernel");
  }
  if (is_gemm(p.family)) p.gemm = read_gemm_shape(r, p.family);
  if (is_attention(p.family)) p.attention = read_attention_shape(r);
  if (p.family == Family::kMemoryBound) {
    constexpr std::string_view kAbout[2] = {"pattern", "kernel"};
    p.pattern = static_cast<AccessPattern>(r.choice("pattern", kAccessPatternNames));
    p.about_kernel = r.choice_or("about", 0, kAbout) == 1;
  }
  if (p.family == Family::kMemoryBound || p.family == Family::kL2Copy ||
      p.family == Family::kCollective)
    p.bytes = Bytes(r.integer("bytes", kBytes));
  p.us = read_times(r);
  p.sm_clock_MHz = r.number_or("sm_clock_MHz", 0, {0, 1e5});
  p.beside_sms = r.integer_or("beside_sms", 0, {0, 1024});
  p.beside_GBps = r.number_or("beside_GBps", 0, {0, 1e5});
  r.finish();
  return p;
}

void read_device(Reader r, Measured& m) {
  m.gpu = r.string("gpu");
  m.multiprocessors = r.integer("multiprocessors", {1, 1024});
  m.memory_GiB = r.number("memory_GiB", {1, 4096});
  m.highest_sm_clock_MHz = r.number("highest_sm_clock_MHz", {1, 1e5});
  m.highest_memory_clock_MHz = r.number("highest_memory_clock_MHz", {1, 1e5});
  m.power_limit_W = r.number_or("power_limit_W", 0, {0, 5000});
  r.finish();
}

void read_software(Reader r, Measured& m) {
  m.driver = r.string_or("driver", "");
  m.cuda_of_driver = r.string("cuda_of_driver");
  m.cuda = r.string("cuda");
  m.cublaslt = r.string("cublaslt");
  m.nccl = r.string_or("nccl", "");
  r.finish();
}

ReferenceRepeat read_repeat(Reader& r) {
  ReferenceRepeat x;
  x.at_s = r.number("at_s", {0, 1e6}), x.us = r.number("us", json::kPositive);
  x.sm_clock_MHz = r.number_or("sm_clock_MHz", 0, {0, 1e5});
  x.temperature_C = r.number_or("temperature_C", 0, {0, 200});
  x.power_W = r.number_or("power_W", 0, {0, 5000});
  r.finish();
  return x;
}

}  // namespace

double MeasuredPoint::median_us() const { return median(us); }

std::string MeasuredPoint::shape_text() const {
  std::string text;
  if (is_gemm(family)) {
    text = fmt::format("{} x {} x {}", gemm.m, gemm.n, gemm.k);
    if (gemm.groups > 1) text += fmt::format(", {} groups", gemm.groups);
    if (family == Family::kGemmBf16 && gemm.output != GemmOutput::kBf16) text += ", FP32 out";
  } else if (is_attention(family)) {
    text = fmt::format("{} x {} heads of {}, {}/{}{}", attention.batch, attention.heads,
                       attention.length, attention.d_qk, attention.d_v,
                       attention.causal ? "" : ", full");
  } else if (family == Family::kCollective) {
    text = fmt::format("{} bytes, {} ranks", with_commas(bytes.count()), ranks);
    if (nodes > 1) text += fmt::format(" on {} nodes", nodes);
  } else if (family != Family::kLaunch) {
    text = fmt::format("{:.1f} MB", static_cast<double>(bytes.count()) / 1e6);
  }
  if (beside_sms > 0) text += fmt::format(", {} SMs taken", beside_sms);
  if (beside_GBps > 0) text += fmt::format(", {:.0f} GB/s taken", beside_GBps);
  return text;
}

Measured read_measured(const json::Node& file) {
  Diagnostics diagnostics;
  Measured m;
  Reader r(file, "", diagnostics);
  if (const json::Node* v = file.find("schema_version"); v == nullptr || v->integer != 2)
    throw InputError({{file.where("/schema_version"),
                       "expected schema_version 2: a file that `orrery calibrate` measured"}});
  r.integer("schema_version");
  r.ignore("note");
  r.ignore("seconds");
  r.ignore("skipped");
  m.date = r.string("date");
  read_device(r.object("device"), m);
  read_software(r.object("software"), m);
  if (r.has("reference"))
    r.objects("reference", [&](Reader& x) { m.reference.push_back(read_repeat(x)); });
  r.objects("points", [&](Reader& p) { m.points.push_back(read_point(p)); });
  if (m.points.empty()) r.fail("points", "no point was measured");
  r.finish();
  diagnostics.throw_if_any();
  return m;
}

}  // namespace orrery
