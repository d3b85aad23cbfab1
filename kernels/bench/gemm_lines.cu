#include <cstdio>

#include "kernels/bench/bench.h"
#include "kernels/bench/measure.cuh"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/grouped.h"

namespace orrery::kernels::bench {
namespace {

struct Shape {
  int64_t m, n, k;
};
// Tokens, outputs and inputs of DeepSeek-V3's linear layers, and a square.
constexpr Shape kDense[] = {{4096, 2112, 7168},  {4096, 24576, 1536}, {4096, 32768, 512},
                            {4096, 7168, 16384}, {4096, 4096, 7168},  {4096, 7168, 2048},
                            {4096, 36864, 7168}, {4096, 7168, 18432}, {8192, 8192, 8192}};

std::string text(const Shape& s) {
  return "m " + std::to_string(s.m) + " n " + std::to_string(s.n) + " k " + std::to_string(s.k);
}

Line line(const char* kernel, const Shape& s, Bound bound, double element_bytes,
          double output_bytes) {
  Line l;
  l.kernel = kernel, l.shape = text(s), l.bound = bound;
  const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n),
             k = static_cast<double>(s.k);
  l.flops = 2 * m * n * k;
  l.bytes = (m + n) * k * element_bytes + m * n * output_bytes;
  return l;
}

// Both ways of an FP8 GEMM; the baseline's time stays 0 when cuBLASLt declines.
void both(GemmContext& context, Line& l, const Launch& launch) {
  const auto by = [&](Fp8Gemms whose) -> Launch {
    return [&context, &launch, whose](int i) {
      context.fp8_gemms = whose;
      return launch(i);
    };
  };
  const int64_t before = context.fp8_cublaslt_launches;
  const std::vector<double> s = seconds_of({by(Fp8Gemms::kOwn), by(Fp8Gemms::kCublasLt)});
  l.us = 1e6 * s[0];
  l.baseline = "cuBLASLt";
  if (context.fp8_cublaslt_launches > before) l.baseline_us = 1e6 * s[1];
}

Line forward(GemmContext& context, const Shape& s) {
  const auto [m, n, k] = s;
  Line l = line("gemm_fp8", s, Bound::kFp8, 1, 2);
  const int count = sets(static_cast<double>((m + n) * k));
  Sets<Fp8Matrix> a, b;
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<uint32_t>(2 * i);
    a.push_back(std::make_unique<Fp8Matrix>(m, k, seed + 1));
    b.push_back(std::make_unique<Fp8Matrix>(1, n, k, seed + 2));
  }
  const Buffer<bf16> c(m * n);
  both(context, l, [&](int i) {
    const auto set = static_cast<std::size_t>(i % count);
    return gemm_fp8(context, {m, n, k, a[set]->view(), b[set]->block(), c.get()}, nullptr);
  });
  return l;
}

// The gradient of the weights of `layer`: C[n, k] += over its m tokens.
Line wgrad(GemmContext& context, const Shape& layer) {
  const Shape s{layer.n, layer.k, layer.m};
  const auto [m, n, k] = s;
  Line l = line("gemm_fp8_wgrad", s, Bound::kFp8, 1, 8);
  const int count = sets(static_cast<double>((m + n) * k));
  Sets<Fp8Matrix> a, b;
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<uint32_t>(2 * i);
    a.push_back(std::make_unique<Fp8Matrix>(m, k, seed + 1));
    b.push_back(std::make_unique<Fp8Matrix>(n, k, seed + 2));
  }
  const Buffer<float> c(m * n);
  both(context, l, [&](int i) {
    const auto set = static_cast<std::size_t>(i % count);
    return gemm_fp8_wgrad(context, {m, n, k, a[set]->view(), b[set]->view(), c.get()}, nullptr);
  });
  return l;
}

Line dense_bf16(GemmContext& context, const Shape& s) {
  const auto [m, n, k] = s;
  Line l = line("gemm_bf16 (cuBLASLt)", s, Bound::kBf16, 2, 2);
  const Buffer<bf16> a(m * k, 1), b(n * k, 2), c(m * n);
  GemmBf16Params p;
  p.m = m, p.n = n, p.k = k, p.a = a.get(), p.lda = k, p.b = b.get(), p.ldb = k;
  p.c = c.get(), p.ldc = n;
  l.us = 1e6 * seconds([&](int) { return gemm_bf16(context, p, nullptr); });
  return l;
}

struct Experts {
  int64_t groups, rows_each, n, k;
  int64_t rows() const { return groups * rows_each; }
  std::string text() const {
    return std::to_string(groups) + " x " + std::to_string(rows_each) + " n " + std::to_string(n) +
           " k " + std::to_string(k);
  }
};
constexpr Experts kExperts[] = {
    {4, 8192, 4096, 7168}, {4, 8192, 7168, 2048}, {8, 4096, 4096, 7168}, {8, 4096, 7168, 2048}};
// Of a layer with few tokens an expert.
constexpr Experts kSmallExperts[] = {{16, 576, 2048, 1024}, {16, 1088, 4096, 3072}};

void grouped(const Experts& e, std::vector<Line>* lines) {
  const Buffer<int32_t> d_offsets(e.groups + 1);
  fill_offsets(e.groups, e.rows_each, d_offsets);
  const auto groups = static_cast<double>(e.groups);
  {
    const Fp8Matrix a(e.rows(), e.k, 1), b(e.groups, e.n, e.k, 2);
    const Buffer<bf16> c(e.rows() * e.n);
    Line l = line("grouped_gemm_fp8", {e.rows(), e.n, e.k}, Bound::kFp8, 1, 2);
    l.bytes += (groups - 1) * static_cast<double>(e.n * e.k);
    l.shape = e.text();
    const GroupedGemmFp8Params p{e.groups,        e.rows(), e.n,       e.k,
                                 d_offsets.get(), a.view(), b.block(), c.get()};
    l.us = 1e6 * seconds([&](int) { return grouped_gemm_fp8(p, nullptr); });
    lines->push_back(l);
  }
  const Fp8Matrix a(e.n, e.rows(), 1), b(e.k, e.rows(), 2);
  const Buffer<float> c(e.groups * e.n * e.k);
  Line l = line("group_wgrad_fp8", {e.n, e.k, e.rows()}, Bound::kFp8, 1, 8 * groups);
  l.shape = e.text();
  GroupWgradFp8Params p;
  p.offsets = d_offsets.get(), p.m = e.n, p.n = e.k, p.a = a.view(), p.b = b.view();
  p.c = c.get(), p.groups = e.groups;
  l.us = 1e6 * seconds([&](int) { return group_wgrad_fp8(p, nullptr); });
  lines->push_back(l);
}

// BF16, beside a call of cuBLASLt a group.
void grouped_bf16(GemmContext& context, const Experts& e, std::vector<Line>* lines) {
  const Buffer<int32_t> d_offsets(e.groups + 1);
  fill_offsets(e.groups, e.rows_each, d_offsets);
  const auto groups = static_cast<double>(e.groups);
  const auto add = [&](Line l, const Launch& own, const Launch& theirs) {
    l.shape = e.text();
    const std::vector<double> s = seconds_of({own, theirs});
    l.us = 1e6 * s[0], l.baseline = "cuBLASLt", l.baseline_us = 1e6 * s[1];
    lines->push_back(l);
  };
  const auto each = [&](const GemmBf16Params& first, int64_t a, int64_t b, int64_t c) -> Launch {
    return [&context, &e, first, a, b, c](int) {
      GemmBf16Params p = first;
      for (int64_t g = 0; g < e.groups; ++g) {
        p.a = first.a + g * a, p.b = first.b + g * b;
        p.c = static_cast<char*>(first.c) + g * c;
        if (Status s = gemm_bf16(context, p, nullptr); !s.ok()) return s;
      }
      return Status{};
    };
  };
  const Buffer<bf16> x(e.rows() * e.k, 1), w(e.groups * e.n * e.k, 2), y(e.rows() * e.n, 3);
  {
    Line l = line("grouped_gemm_bf16", {e.rows(), e.n, e.k}, Bound::kBf16, 2, 2);
    l.bytes += (groups - 1) * static_cast<double>(e.n * e.k) * 2;
    GemmBf16Params p;
    p.m = e.rows_each, p.n = e.n, p.k = e.k;
    p.a = x.get(), p.lda = e.k, p.b = w.get(), p.ldb = e.k, p.c = y.get(), p.ldc = e.n;
    const GroupedGemmBf16Params own{Layout::kNT,     e.groups, e.rows(), e.n,    e.k,
                                    d_offsets.get(), x.get(),  w.get(),  y.get()};
    add(
        l, [&](int) { return grouped_gemm_bf16(own, nullptr); },
        each(p, e.rows_each * e.k, e.n * e.k, e.rows_each * e.n * 2));
  }
  const Buffer<float> grad(e.groups * e.n * e.k);
  Line l = line("group_wgrad_bf16", {e.n, e.k, e.rows()}, Bound::kBf16, 2, 8 * groups);
  GemmBf16Params p;
  p.layout = Layout::kTN, p.m = e.n, p.n = e.k, p.k = e.rows_each;
  p.a = y.get(), p.lda = e.n, p.b = x.get(), p.ldb = e.k, p.c = grad.get(), p.ldc = e.k;
  p.c_type = GemmOutput::kFp32, p.accumulate = true;
  const GroupWgradBf16Params own{.offsets = d_offsets.get(),
                                 .rows = e.rows(),
                                 .m = e.n,
                                 .n = e.k,
                                 .a = y.get(),
                                 .b = x.get(),
                                 .c = grad.get(),
                                 .groups = e.groups};
  add(
      l, [&](int) { return group_wgrad_bf16(own, nullptr); },
      each(p, e.rows_each * e.n, e.rows_each * e.k, e.n * e.k * 4));
}

}  // namespace

std::vector<Line> bench_gemms() {
  constexpr std::size_t kWorkspace = std::size_t{32} << 20;
  const Buffer<uint8_t> workspace(kWorkspace);
  GemmContext context(workspace.get(), kWorkspace);
  std::vector<Line> lines;
  for (const Shape& s : kDense) lines.push_back(forward(context, s));
  for (const Shape& s : kDense) lines.push_back(wgrad(context, s));
  for (const Experts& e : kExperts) grouped(e, &lines);
  for (const Experts& e : kExperts) grouped_bf16(context, e, &lines);
  for (const Experts& e : kSmallExperts) grouped_bf16(context, e, &lines);
  for (const Shape& s : kDense) lines.push_back(dense_bf16(context, s));
  return lines;
}

}  // namespace orrery::kernels::bench
