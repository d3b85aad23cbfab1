#include "sim/import/kineto.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "sim/base/json_reader.h"

namespace orrery {
namespace {

using json::Node;

struct Pattern {
  std::string_view text;
  KernelClass cls;
};
// First match wins. DeepSeek's own kernels, DeepEP, CUTLASS, FlashAttention, cuBLAS.
constexpr std::array<Pattern, 27> kPatterns = {{
    {"internode::combine", KernelClass::kCommCombine},
    {"internode::dispatch", KernelClass::kCommDispatch},
    {"notify", KernelClass::kCommNotify},
    {"get_dispatch_layout", KernelClass::kCommLayout},
    {"m_grouped_fp8", KernelClass::kGemmGrouped},
    {"fp8_dptp128c_acc", KernelClass::kGemmWgrad},
    {"fp8_ptp128c", KernelClass::kGemmDense},
    {"sm90_xmma_gemm_bf16", KernelClass::kGemmBf16},
    {"cublas", KernelClass::kGemmBf16},
    {"FlashAttnBwd", KernelClass::kAttentionBackward},
    {"flash::compute_attn_ws", KernelClass::kAttentionForward},
    {"FlashAttnFwd", KernelClass::kAttentionForward},
    {"per_token_cast", KernelClass::kQuantCast},
    {"per_channel_cast", KernelClass::kQuantCast},
    {"cast_back", KernelClass::kQuantCast},
    {"batched_transpose", KernelClass::kTranspose},
    {"utils::transpose", KernelClass::kTranspose},
    {"layer_norm::", KernelClass::kNorm},
    {"rotary_kernel", KernelClass::kRopeCopy},
    {"_copy_tensor_kernel", KernelClass::kRopeCopy},
    {"swiglu_forward_backward", KernelClass::kSwiGlu},
    {"swiglu_weight_backward", KernelClass::kSwiGlu},
    {"swiglu_backward", KernelClass::kSwiGlu},
    {"reduce_fused", KernelClass::kMoePermute},
    {"expand_to_fused", KernelClass::kMoePermute},
    {"get_fused_mapping", KernelClass::kMoePermute},
    {"clean_and_count_expert", KernelClass::kMoePermute},
}};

struct Annotation {
  std::string name;
  double begin, end;
  int index;  // among those of its name
};

class TraceReader {
 public:
  explicit TraceReader(const std::string& path) : path_(path) {}

  MeasuredTrace read() {
    const Node root = json::parse_json_file(path_);
    const Node* events = root.find("traceEvents");
    if (events == nullptr || events->kind != Node::Kind::kArray)
      fail("found no \"traceEvents\" array; expected a Chrome/Kineto trace");
    for (const Node& e : events->items) {
      event(e);
      ++index_;
    }
    if (trace_.kernels.empty()) fail("found no GPU kernel (events with cat \"kernel\")");
    label();
    normalise();
    return std::move(trace_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw InputError({{path_, message}}); }
  double number(const Node& e, std::string_view key) const {
    const Node* n = e.find(key);
    if (n == nullptr || (n->kind != Node::Kind::kNumber && n->kind != Node::Kind::kInteger))
      throw InputError({{e.where(fmt::format("/traceEvents/{}", index_)),
                         fmt::format("the event has no number \"{}\"", key)}});
    return n->number;
  }
  static std::string text(const Node& e, std::string_view key) {
    const Node* n = e.find(key);
    return n == nullptr ? "" : n->string;
  }
  static int64_t argument(const Node& e, std::string_view key) {
    const Node* args = e.find("args");
    const Node* n = args == nullptr ? nullptr : args->find(key);
    return n == nullptr ? -1 : n->integer;
  }

  void event(const Node& e) {
    if (text(e, "ph") != "X") return;
    const std::string cat = text(e, "cat");
    if (cat == "kernel" || cat == "gpu_memcpy" || cat == "gpu_memset") {
      MeasuredKernel k;
      k.name = text(e, "name");
      k.start_us = number(e, "ts");
      k.duration_us = number(e, "dur");
      k.stream = argument(e, "stream");
      k.cls = kernel_class(k.name);
      trace_.kernels.push_back(std::move(k));
      correlation_.push_back(argument(e, "correlation"));
    } else if (cat == "cuda_runtime" || cat == "cuda_driver") {
      const int64_t correlation = argument(e, "correlation");
      if (correlation >= 0) launch_[correlation] = number(e, "ts");
    } else if (cat == "user_annotation" && !text(e, "name").starts_with("ProfilerStep")) {
      annotations_.push_back(
          {text(e, "name"), number(e, "ts"), number(e, "ts") + number(e, "dur"), 0});
    }
  }

  void label() {
    std::stable_sort(annotations_.begin(), annotations_.end(),
                     [](const auto& a, const auto& b) { return a.begin < b.begin; });
    std::map<std::string, int> seen;
    for (Annotation& a : annotations_) a.index = seen[a.name]++;
    for (std::size_t i = 0; i < trace_.kernels.size(); ++i) {
      const auto launch = launch_.find(correlation_[i]);
      if (launch == launch_.end()) continue;
      const Annotation* inner = nullptr;
      for (const Annotation& a : annotations_)
        if (a.begin <= launch->second && launch->second <= a.end &&
            (inner == nullptr || a.end - a.begin <= inner->end - inner->begin))
          inner = &a;
      if (inner != nullptr)
        trace_.kernels[i].segment = inner->name, trace_.kernels[i].layer = inner->index;
    }
  }

  void normalise() {
    auto& k = trace_.kernels;
    std::stable_sort(k.begin(), k.end(),
                     [](const auto& a, const auto& b) { return a.start_us < b.start_us; });
    const double zero = k.front().start_us;
    for (MeasuredKernel& m : k) {
      m.start_us -= zero;
      trace_.span_us = std::max(trace_.span_us, m.start_us + m.duration_us);
    }
  }

  std::string path_;
  std::size_t index_ = 0;  // of the event being read
  MeasuredTrace trace_;
  std::vector<int64_t> correlation_;
  std::map<int64_t, double> launch_;
  std::vector<Annotation> annotations_;
};

}  // namespace

KernelClass kernel_class(const std::string& name) {
  for (const Pattern& p : kPatterns)
    if (name.find(p.text) != std::string::npos) return p.cls;
  return KernelClass::kElementwise;
}

MeasuredTrace read_kineto(const std::string& path) { return TraceReader(path).read(); }

}  // namespace orrery
