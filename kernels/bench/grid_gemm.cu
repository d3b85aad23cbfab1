#include <cublasLt.h>

#include "kernels/bench/grid_timing.cuh"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/grouped.h"
#include "kernels/gemm/lt_plans.h"

namespace orrery::kernels::bench {
namespace {

constexpr std::size_t kWorkspace = std::size_t{32} << 20;

struct Shape {
  int64_t m, n, k;
};
struct Layer {
  int64_t n, k;
};
// DeepSeek-V3's linear layers and two of Llama 3's.
constexpr Layer kLayers[] = {{2112, 7168}, {24576, 1536}, {32768, 512}, {7168, 16384},
                             {4096, 7168}, {7168, 2048},  {6144, 4096}, {4096, 14336}};
constexpr int64_t kRows[] = {128, 512, 2048, 4096, 8192};
constexpr int64_t kInner[] = {1024, 4096, 16384};  // tokens of a gradient of weights

GridPoint point(const char* family, const char* kernel, const Shape& s) {
  GridPoint p;
  p.family = family, p.kernel = kernel;
  p.numbers = {{"m", s.m}, {"n", s.n}, {"k", s.k}};
  return p;
}

// A GEMM context with its workspace.
struct Context {
  Buffer<uint8_t> workspace{static_cast<int64_t>(kWorkspace)};
  GemmContext gemm{workspace.get(), kWorkspace};
};

template <class T>
struct Operands {
  Operands(const Shape& s, uint32_t seed) : a(s.m * s.k, seed), b(s.n * s.k, seed + 1) {}
  Buffer<T> a, b;
};

std::vector<GridPoint> bf16_forward(const Shape& s) {
  Context context;
  Sets<Operands<bf16>> sets_of;
  const int count = sets(2.0 * static_cast<double>((s.m + s.n) * s.k));
  for (int i = 0; i < count; ++i)
    sets_of.push_back(std::make_unique<Operands<bf16>>(s, static_cast<uint32_t>(2 * i + 1)));
  const Buffer<bf16> c(s.m * s.n);
  GemmBf16Params p;
  p.m = s.m, p.n = s.n, p.k = s.k, p.lda = p.ldb = s.k, p.c = c.get(), p.ldc = s.n;
  GridPoint out = point("gemm_bf16", "cuBLASLt", s);
  measure(
      out,
      [&](int i, cudaStream_t stream) {
        const Operands<bf16>& o = *sets_of[static_cast<std::size_t>(i % count)];
        p.a = o.a.get(), p.b = o.b.get();
        return gemm_bf16(context.gemm, p, stream);
      },
      kUntilSteady);
  return {out};
}

// C[m, n] += Aᵀ·B, A and B by tokens.
std::vector<GridPoint> bf16_wgrad(const Shape& s) {
  Context context;
  const Operands<bf16> o(s, 1);
  const Buffer<float> c(s.m * s.n);
  GemmBf16Params p;
  p.layout = Layout::kTN, p.m = s.m, p.n = s.n, p.k = s.k;
  p.a = o.a.get(), p.lda = s.m, p.b = o.b.get(), p.ldb = s.n, p.c = c.get(), p.ldc = s.n;
  p.c_type = GemmOutput::kFp32, p.accumulate = true;
  GridPoint out = point("gemm_bf16", "cuBLASLt, weight gradient", s);
  out.words = {{"output", "fp32_accumulate"}};
  measure(
      out, [&](int, cudaStream_t stream) { return gemm_bf16(context.gemm, p, stream); },
      kUntilSteady);
  return {out};
}

// One scale per tensor.
std::vector<GridPoint> fp8_tensor(const Shape& s) {
  const Buffer<uint8_t> workspace(static_cast<int64_t>(kWorkspace));
  LtPlans plans(workspace.get(), kWorkspace);
  Sets<Operands<fp8>> sets_of;
  const int count = sets(static_cast<double>((s.m + s.n) * s.k));
  for (int i = 0; i < count; ++i)
    sets_of.push_back(std::make_unique<Operands<fp8>>(s, static_cast<uint32_t>(2 * i + 1)));
  const Buffer<bf16> c(s.m * s.n);
  // In cuBLASLt's column-major terms D[n, m] = Bᵀ·A.
  LtShape lt;
  lt.transpose_a = true;
  lt.m = s.n, lt.n = s.m, lt.k = lt.lda = lt.ldb = s.k, lt.ldd = s.n;
  lt.operand = CUDA_R_8F_E4M3;
  lt.a_alignment = lt.b_alignment = lt.d_alignment = 256;
  GridPoint out = point("gemm_fp8_tensor", "cuBLASLt", s);
  bool taken = true;
  measure(
      out,
      [&](int i, cudaStream_t stream) {
        const Operands<fp8>& o = *sets_of[static_cast<std::size_t>(i % count)];
        Status status = plans.run("gemm", lt, {o.b.get(), o.a.get(), c.get(), nullptr, nullptr},
                                  &taken, stream);
        return status.ok() && !taken ? failed("cuBLASLt has no algorithm for this shape") : status;
      },
      kUntilSteady);
  return {out};
}

struct Fp8Operands {
  Fp8Operands(const Shape& s, bool blocks, uint32_t seed)
      : a(s.m, s.k, seed),
        b(blocks ? std::make_unique<Fp8Matrix>(1, s.n, s.k, seed + 1)
                 : std::make_unique<Fp8Matrix>(s.n, s.k, seed + 1)) {}
  Fp8Matrix a;
  std::unique_ptr<Fp8Matrix> b;
};

Sets<Fp8Operands> fp8_sets(const Shape& s, bool blocks) {
  Sets<Fp8Operands> all;
  const int count = sets(static_cast<double>((s.m + s.n) * s.k));
  for (int i = 0; i < count; ++i)
    all.push_back(std::make_unique<Fp8Operands>(s, blocks, static_cast<uint32_t>(2 * i + 1)));
  return all;
}

// launch(context, operands, stream). Whose kernel ran is told: training takes the faster of the
// two.
template <class Launch>
std::vector<GridPoint> fp8_point(const char* family, const Shape& s, bool blocks, Launch launch) {
  Context context;
  const Sets<Fp8Operands> sets_of = fp8_sets(s, blocks);
  GridPoint out = point(family, "", s);
  measure(
      out,
      [&](int i, cudaStream_t stream) {
        return launch(context.gemm, *sets_of[static_cast<std::size_t>(i) % sets_of.size()], stream);
      },
      kUntilSteady);
  out.kernel = context.gemm.fp8_own_launches > 0 ? "own" : "cuBLASLt";
  return {out};
}

std::vector<GridPoint> fp8_forward(const Shape& s) {
  const Buffer<bf16> c(s.m * s.n);
  return fp8_point(
      "gemm_fp8", s, true, [&](GemmContext& gemm, const Fp8Operands& o, cudaStream_t stream) {
        return gemm_fp8(gemm, {s.m, s.n, s.k, o.a.view(), o.b->block(), c.get()}, stream);
      });
}

std::vector<GridPoint> fp8_wgrad(const Shape& s) {
  const Buffer<float> c(s.m * s.n);
  return fp8_point(
      "gemm_fp8_wgrad", s, false,
      [&](GemmContext& gemm, const Fp8Operands& o, cudaStream_t stream) {
        return gemm_fp8_wgrad(gemm, {s.m, s.n, s.k, o.a.view(), o.b->view(), c.get()}, stream);
      });
}

struct Experts {
  int64_t groups, rows_each, n, k;
  int64_t rows() const { return groups * rows_each; }
};
constexpr Experts kExperts[] = {{4, 8192, 4096, 7168}, {4, 8192, 7168, 2048}, {8, 4096, 4096, 7168},
                                {8, 4096, 7168, 2048}, {32, 512, 4096, 7168}, {32, 512, 7168, 2048},
                                {8, 1024, 4096, 7168}, {8, 1024, 7168, 2048}};

GridPoint grouped_point(const char* family, const char* kernel, const Shape& s, const Experts& e,
                        const char* grouped) {
  GridPoint p = point(family, kernel, s);
  p.numbers.emplace_back("groups", e.groups);
  p.words.emplace_back("grouped", grouped);
  return p;
}

std::vector<GridPoint> grouped_fp8(const Experts& e) {
  const Buffer<int32_t> offsets(e.groups + 1);
  fill_offsets(e.groups, e.rows_each, offsets);
  const Fp8Matrix a(e.rows(), e.k, 1), b(e.groups, e.n, e.k, 2);
  const Buffer<bf16> c(e.rows() * e.n);
  const GroupedGemmFp8Params p{e.groups,      e.rows(), e.n,       e.k,
                               offsets.get(), a.view(), b.block(), c.get()};
  GridPoint out = grouped_point("gemm_fp8", "own, grouped", {e.rows(), e.n, e.k}, e, "m");
  measure(
      out, [&](int, cudaStream_t stream) { return grouped_gemm_fp8(p, stream); }, kUntilSteady);
  return {out};
}

std::vector<GridPoint> grouped_fp8_wgrad(const Experts& e) {
  const Buffer<int32_t> offsets(e.groups + 1);
  fill_offsets(e.groups, e.rows_each, offsets);
  const Fp8Matrix a(e.n, e.rows(), 1), b(e.k, e.rows(), 2);
  const Buffer<float> c(e.groups * e.n * e.k);
  GroupWgradFp8Params p;
  p.offsets = offsets.get(), p.m = e.n, p.n = e.k, p.a = a.view(), p.b = b.view();
  p.c = c.get(), p.groups = e.groups;
  GridPoint out = grouped_point("gemm_fp8_wgrad", "own, grouped", {e.n, e.k, e.rows()}, e, "k");
  measure(
      out, [&](int, cudaStream_t stream) { return group_wgrad_fp8(p, stream); }, kUntilSteady);
  return {out};
}

std::vector<GridPoint> grouped_bf16(const Experts& e) {
  const Buffer<int32_t> offsets(e.groups + 1);
  fill_offsets(e.groups, e.rows_each, offsets);
  const Buffer<bf16> a(e.rows() * e.k, 1), b(e.groups * e.n * e.k, 2), c(e.rows() * e.n);
  GroupedGemmBf16Params p;
  p.groups = e.groups, p.max_rows = e.rows(), p.n = e.n, p.k = e.k;
  p.offsets = offsets.get(), p.a = a.get(), p.b = b.get(), p.c = c.get();
  GridPoint out = grouped_point("gemm_bf16", "own, grouped", {e.rows(), e.n, e.k}, e, "m");
  measure(
      out, [&](int, cudaStream_t stream) { return grouped_gemm_bf16(p, stream); }, kUntilSteady);
  return {out};
}

std::vector<GridPoint> grouped_bf16_wgrad(const Experts& e) {
  const Buffer<int32_t> offsets(e.groups + 1);
  fill_offsets(e.groups, e.rows_each, offsets);
  const Buffer<bf16> a(e.rows() * e.n, 1), b(e.rows() * e.k, 2);
  const Buffer<float> c(e.groups * e.n * e.k);
  const GroupWgradBf16Params p{.offsets = offsets.get(),
                               .rows = e.rows(),
                               .m = e.n,
                               .n = e.k,
                               .a = a.get(),
                               .b = b.get(),
                               .c = c.get(),
                               .groups = e.groups};
  GridPoint out = grouped_point("gemm_bf16", "own, grouped", {e.n, e.k, e.rows()}, e, "k");
  out.words.emplace_back("output", "fp32_accumulate");
  measure(
      out, [&](int, cudaStream_t stream) { return group_wgrad_bf16(p, stream); }, kUntilSteady);
  return {out};
}

}  // namespace

std::vector<GridTask> gemm_grid() {
  std::vector<GridTask> tasks;
  const auto add = [&](const char* name, auto measure, const auto& shape) {
    tasks.push_back({name, [measure, shape] { return measure(shape); }});
  };
  for (const Layer& l : kLayers)
    for (const int64_t m : kRows) {
      const Shape s{m, l.n, l.k};
      add("gemm_bf16", bf16_forward, s);
      add("gemm_fp8", fp8_forward, s);
      add("gemm_fp8_tensor", fp8_tensor, s);
    }
  for (const Layer& l : kLayers)
    for (const int64_t k : kInner) add("gemm_fp8_wgrad", fp8_wgrad, Shape{l.n, l.k, k});
  for (const Layer& l : kLayers) add("gemm_bf16 wgrad", bf16_wgrad, Shape{l.n, l.k, 4096});
  for (const Experts& e : kExperts) {
    add("grouped_gemm_fp8", grouped_fp8, e);
    add("group_wgrad_fp8", grouped_fp8_wgrad, e);
    add("grouped_gemm_bf16", grouped_bf16, e);
    add("group_wgrad_bf16", grouped_bf16_wgrad, e);
  }
  return tasks;
}

struct Reference::State {
  static constexpr int64_t kSide = 8192;
  Context context;
  Operands<bf16> o{{kSide, kSide, kSide}, 1};
  Buffer<bf16> c{kSide * kSide};
  Stream stream;
  Timer timer;
  Status launch() {
    GemmBf16Params p;
    p.m = p.n = p.k = p.lda = p.ldb = p.ldc = kSide;
    p.a = o.a.get(), p.b = o.b.get(), p.c = c.get();
    return gemm_bf16(context.gemm, p, stream);
  }
};

Reference::Reference() : state_(new State) {}
Reference::~Reference() { delete state_; }

double Reference::measure(const std::function<void()>& during) {
  constexpr int kLaunches = 20, kRepeats = 5;
  std::vector<double> us;
  const auto repeat = [&](bool last) {
    return state_->timer(state_->stream, [&] {
      for (int i = 0; i < kLaunches; ++i) need(state_->launch());
      if (last) during();
    });
  };
  for (double t = 0; t < kUntilSteady;) t += repeat(false);
  for (int r = 0; r < kRepeats; ++r) us.push_back(repeat(r == kRepeats - 1) / kLaunches);
  std::sort(us.begin(), us.end());
  return us[kRepeats / 2];
}

}  // namespace orrery::kernels::bench
