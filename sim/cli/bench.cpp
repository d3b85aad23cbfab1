// `orrery bench kernels`: the kernels of this build on this machine's GPU.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "sim/cli/verbs.h"

#ifdef ORRERY_HAS_CUDA
#include "runtime/cuda/kernel_bench.h"
#endif

namespace orrery {
namespace {

struct BenchArguments {
  std::vector<std::string> families;
  bool json = false;
};

#ifndef ORRERY_HAS_CUDA

const std::vector<std::string> kBenchFamilies{"gemm", "attention", "bandwidth"};

void bench_verb(const BenchArguments&) {
  throw Error(ExitCode::kUnavailable, "no GPU: this orrery was built without CUDA");
}

#else

const std::vector<std::string>& kBenchFamilies = kernel_bench_families();

// A number of the line, or a dash where there is none.
std::string number(const nlohmann::ordered_json& line, const char* key, const char* format) {
  if (!line.contains(key) || line[key].is_null()) return "-";
  return fmt::format(fmt::runtime(format), line[key].get<double>());
}

void print_table(const nlohmann::ordered_json& report) {
  const auto& machine = report["machine"];
  const auto& ceilings = report["ceilings"];
  fmt::print("{}, CUDA {}: copy {:.0f} GB/s, BF16 {:.0f} TFLOPS, FP8 {:.0f} TFLOPS\n\n",
             machine["gpu"].get<std::string>(), machine["cuda"].get<std::string>(),
             ceilings["copy_GBps"].get<double>(), ceilings["bf16_TFLOPS"].get<double>(),
             ceilings["fp8_TFLOPS"].get<double>());
  fmt::print("{:<24} {:<44} {:>9} {:>7} {:>7} {:>10} {:>12}\n", "kernel", "shape", "us", "TFLOPS",
             "GB/s", "of ceiling", "of baseline");
  for (const auto& l : report["kernels"])
    fmt::print("{:<24} {:<44} {:>9} {:>7} {:>7} {:>10} {:>12}\n", l["kernel"].get<std::string>(),
               l["shape"].get<std::string>(), number(l, "us", "{:.1f}"),
               number(l, "TFLOPS", "{:.0f}"), number(l, "GBps", "{:.0f}"),
               number(l, "share_of_ceiling", "{:.2f}"), number(l, "of_baseline", "{:.2f}"));
}

void bench_verb(const BenchArguments& a) {
  const nlohmann::ordered_json report =
      bench_kernels(a.families.empty() ? kBenchFamilies : a.families);
  if (a.json)
    fmt::print("{}\n", report.dump(2));
  else
    print_table(report);
}

#endif

}  // namespace

void add_bench(CLI::App& app) {
  auto a = std::make_shared<BenchArguments>();
  CLI::App* bench = app.add_subcommand("bench", "Measure what this build does on this machine");
  bench->require_subcommand(1);
  CLI::App* verb = bench->add_subcommand(
      "kernels", "Time every kernel beside what bounds it and a library's (needs a GPU)");
  verb->add_option("families", a->families, "only these: gemm, attention, bandwidth")
      ->check(CLI::IsMember(kBenchFamilies));
  verb->add_flag("--json", a->json, "print one JSON document");
  verb->footer("Example:\n  orrery bench kernels gemm --json");
  verb->callback([a] { bench_verb(*a); });
}

}  // namespace orrery
