// TFLOPS of the FP8 GEMMs on the shapes of DeepSeek-V3: every tiling of the project's own kernel
// beside cuBLASLt. Arguments: none for all, or a word of "dense", "wgrad", "grouped".
#include <cstdio>
#include <functional>
#include <string>

#include "kernels/bench/measure.cuh"
#include "kernels/gemm/fp8_gemm.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/grouped.h"

using namespace orrery::kernels;
using namespace orrery::kernels::bench;

namespace {

struct Shape {
  int64_t m, n, k;
};
constexpr Shape kDense[] = {{4096, 2112, 7168},  {4096, 24576, 1536}, {4096, 32768, 512},
                            {4096, 7168, 16384}, {4096, 4096, 7168},  {4096, 7168, 2048},
                            {4096, 36864, 7168}, {4096, 7168, 18432}, {8192, 8192, 8192}};

struct Candidate {
  std::string name;
  Launch launch;
};

void report(const Shape& s, const std::vector<Candidate>& candidates) {
  std::vector<Launch> launches;
  for (const Candidate& c : candidates) launches.push_back(c.launch);
  const std::vector<double> times = seconds_of(launches);
  for (std::size_t i = 0; i < times.size(); ++i)
    std::printf("  %-26s %9.1f us %7.0f TFLOPS\n", candidates[i].name.c_str(), times[i] * 1e6,
                2e-12 * static_cast<double>(s.m * s.n) * static_cast<double>(s.k) / times[i]);
  std::fflush(stdout);
}

TileOperand operand(const Fp8View& x) {
  TileOperand o;
  o.data = x.data, o.ld = x.cols;
  o.scales = x.scales, o.row_stride = x.row_stride, o.tile_stride = x.tile_stride;
  return o;
}
TileOperand operand(const Fp8Block& x) {
  TileOperand o;
  o.data = x.data, o.ld = x.cols;
  o.scales = x.scales, o.row_stride = tiles(x.cols), o.tile_stride = 1;
  o.group_stride = x.rows * x.cols, o.group_scales = tiles(x.rows) * tiles(x.cols);
  return o;
}

template <int kCount>
void add_tilings(std::vector<Candidate>* to, TileKind kind, const Fp8Tiling (&tilings)[kCount],
                 int count, std::function<TileGemmParams(int)> params,
                 const std::string& what = "") {
  for (const Fp8Tiling& t : tilings)
    to->push_back(
        {"own " + std::to_string(t.rows) + "x" + std::to_string(t.cols) + (t.pair ? " pair" : "") +
             what,
         [=](int i) { return fp8_gemm("fp8_gemm", kind, params(i % count), t, nullptr); }});
}

void dense(GemmContext& context, const Shape& s) {
  const auto [m, n, k] = s;
  std::printf("fp8 m %ld n %ld k %ld\n", m, n, k);
  const int count = sets(static_cast<double>(m * k + n * k));
  Sets<Fp8Matrix> a, b;
  for (int i = 0; i < count; ++i) {
    a.push_back(std::make_unique<Fp8Matrix>(m, k, 2 * i + 1));
    b.push_back(std::make_unique<Fp8Matrix>(1, n, k, 2 * i + 2));
  }
  const Buffer<bf16> c(m * n);
  context.fp8_gemms = Fp8Gemms::kCublasLt;
  std::vector<Candidate> all{
      {"cuBLASLt", [&](int i) {
         return gemm_fp8(context, {m, n, k, a[i % count]->view(), b[i % count]->block(), c.get()},
                         nullptr);
       }}};
  add_tilings(&all, TileKind::kFp8Block, kFp8BlockTilings, count, [&](int i) {
    TileGemmParams p;
    p.m = static_cast<int>(m), p.n = static_cast<int>(n), p.k = static_cast<int>(k);
    p.a = operand(a[i]->view()), p.b = operand(b[i]->block()), p.c = c.get(), p.ldc = n;
    return p;
  });
  report(s, all);
}

// C[n, k] of m tokens, added and written.
void wgrad(GemmContext& context, const Shape& s) {
  const Shape t{s.n, s.k, s.m};
  const auto [m, n, k] = t;
  std::printf("wgrad m %ld n %ld k %ld\n", m, n, k);
  const int count = sets(static_cast<double>(m * k + n * k));
  Sets<Fp8Matrix> a, b;
  for (int i = 0; i < count; ++i) {
    a.push_back(std::make_unique<Fp8Matrix>(m, k, 2 * i + 1));
    b.push_back(std::make_unique<Fp8Matrix>(n, k, 2 * i + 2));
  }
  const Buffer<float> c(m * n);
  context.fp8_gemms = Fp8Gemms::kCublasLt;
  std::vector<Candidate> all;
  for (const bool accumulate : {true, false}) {
    const std::string what = accumulate ? ", added" : ", written";
    all.push_back({"cuBLASLt" + what, [&, accumulate](int i) {
                     GemmFp8WgradParams p{m,      n, k, a[i % count]->view(), b[i % count]->view(),
                                          c.get()};
                     p.accumulate = accumulate;
                     return gemm_fp8_wgrad(context, p, nullptr);
                   }});
    add_tilings(
        &all, TileKind::kFp8Tiles, kFp8WgradTilings, count,
        [&, accumulate](int i) {
          TileGemmParams p;
          p.m = static_cast<int>(m), p.n = static_cast<int>(n), p.k = static_cast<int>(k);
          p.a = operand(a[i]->view()), p.b = operand(b[i]->view()), p.c = c.get(), p.ldc = n;
          p.accumulate = accumulate;
          return p;
        },
        what);
  }
  report(t, all);
}

void grouped(int64_t groups, int64_t rows_each, int64_t n, int64_t k) {
  const int64_t rows = groups * rows_each;
  std::printf("grouped %ld x %ld n %ld k %ld\n", groups, rows_each, n, k);
  std::vector<int32_t> offsets;
  for (int64_t g = 0; g <= groups; ++g) offsets.push_back(static_cast<int32_t>(g * rows_each));
  const Buffer<int32_t> d_offsets(groups + 1);
  need(cudaMemcpy(d_offsets.get(), offsets.data(), offsets.size() * sizeof(int32_t),
                  cudaMemcpyHostToDevice));
  {
    const Fp8Matrix a(rows, k, 1), b(groups, n, k, 2);
    const Buffer<bf16> c(rows * n);
    std::vector<Candidate> all;
    add_tilings(&all, TileKind::kFp8Block, kFp8BlockTilings, 1, [&](int) {
      TileGemmParams p;
      p.m = static_cast<int>(rows), p.n = static_cast<int>(n), p.k = static_cast<int>(k);
      p.a = operand(a.view()), p.b = operand(b.block()), p.c = c.get(), p.ldc = n;
      p.grouping = TileGrouping::kRows, p.offsets = d_offsets.get();
      p.groups = static_cast<int>(groups);
      return p;
    });
    report({rows, n, k}, all);
  }
  const Fp8Matrix a(n, rows, 1), b(k, rows, 2);
  const Buffer<float> c(groups * n * k);
  GroupWgradFp8Params p;
  p.offsets = d_offsets.get(), p.m = n, p.n = k, p.a = a.view(), p.b = b.view(), p.c = c.get();
  p.groups = groups;
  GroupWgradFp8Params written = p;
  written.accumulate = false;
  report({n, k, rows},
         {{"wgrad of all, added", [&](int) { return group_wgrad_fp8(p, nullptr); }},
          {"wgrad of all, written", [&](int) { return group_wgrad_fp8(written, nullptr); }}});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  constexpr std::size_t kWorkspace = std::size_t{32} << 20;
  const Buffer<uint8_t> workspace(kWorkspace);
  GemmContext context(workspace.get(), kWorkspace);
  for (const Shape& s : kDense)
    if (which.empty() || which == "dense") dense(context, s);
  for (const Shape& s : kDense)
    if (which.empty() || which == "wgrad") wgrad(context, s);
  if (which.empty() || which == "grouped")
    for (const auto& [groups, rows] :
         {std::pair<int64_t, int64_t>{4, 8192}, {8, 4096}, {32, 1024}}) {
      grouped(groups, rows, 4096, 7168);
      grouped(groups, rows, 7168, 2048);
    }
  need(cudaDeviceSynchronize());
}
