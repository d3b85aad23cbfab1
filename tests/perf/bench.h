// A small benchmark harness: times a piece of work several times, prints the median, minimum and
// maximum per operation, or, with --json, what google/benchmark prints, for its compare.py.
//
//   int main(int argc, char** argv) {
//     orrery::Bench bench(argc, argv);
//     bench.run("name/1000", operations, [] { return State(...); },      // not timed
//               [](State& s) { ...; return hash; });                     // timed
//     return bench.finish();
//   }
//
// Options: --json, --repetitions=N, --filter=TEXT (names that contain TEXT).
//
// The work returns a hash of its results, which is printed: the compiler cannot drop the work, and
// a reader sees when two runs did not compute the same.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace orrery {

class Bench {
 public:
  Bench(int argc, char** argv) : program_(argc > 0 ? argv[0] : "bench") {
    for (int i = 1; i < argc; ++i) read_option(argv[i]);
    if (!json_) {
      std::printf("%-36s %5s %12s %12s %12s  %s\n", "benchmark", "reps", "median ns", "min ns",
                  "max ns", "hash");
    }
  }

  // Times `work(state)`, which does `operations` operations and returns a hash, on the state that
  // `setup` made once; repetitions see the state that the one before left. Returns the hash of all
  // repetitions, or 0 when the name is filtered out.
  template <class Setup, class Work>
  uint64_t run(const std::string& name, uint64_t operations, Setup setup, Work work) {
    if (name.find(filter_) == std::string::npos) return 0;
    auto state = setup();
    Result result{name, operations, 0, {}, {}};
    for (int i = 0; i < repetitions_; ++i) {
      const Clock start = Clock::now();
      const uint64_t hash = work(state);
      const Clock end = Clock::now();
      result.hash = mix(result.hash, hash);
      result.real_ns.push_back((end.real_ns - start.real_ns) / static_cast<double>(operations));
      result.cpu_ns.push_back((end.cpu_ns - start.cpu_ns) / static_cast<double>(operations));
    }
    if (!json_) print_row(result);
    results_.push_back(std::move(result));
    return results_.back().hash;
  }

  // Prints the JSON if asked for; returns main's exit code.
  int finish() const {
    if (json_) print_json();
    return results_.empty() ? EXIT_FAILURE : EXIT_SUCCESS;  // a filter that matches nothing
  }

  // Folds `value` into `hash`; cheap, so that it can be called per operation.
  static uint64_t mix(uint64_t hash, uint64_t value) {
    return (hash ^ value) * 0x9E3779B97F4A7C15U + (hash >> 32);
  }

 private:
  struct Clock {
    double real_ns;
    double cpu_ns;
    static Clock now() {
      timespec cpu{};
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
      const auto real = std::chrono::steady_clock::now().time_since_epoch();
      return {std::chrono::duration<double, std::nano>(real).count(),
              static_cast<double>(cpu.tv_sec) * 1e9 + static_cast<double>(cpu.tv_nsec)};
    }
  };
  struct Result {
    std::string name;
    uint64_t operations;
    uint64_t hash;
    std::vector<double> real_ns;  // per operation, one a repetition
    std::vector<double> cpu_ns;
  };

  void read_option(std::string_view option) {
    constexpr std::string_view kRepetitions = "--repetitions=";
    constexpr std::string_view kFilter = "--filter=";
    if (option == "--json") {
      json_ = true;
    } else if (option.starts_with(kRepetitions)) {
      repetitions_ = std::atoi(option.substr(kRepetitions.size()).data());
    } else if (option.starts_with(kFilter)) {
      filter_ = option.substr(kFilter.size());
    } else {
      repetitions_ = 0;
    }
    if (repetitions_ > 0) return;
    std::fprintf(stderr, "usage: %s [--json] [--repetitions=N] [--filter=TEXT]\n",
                 program_.c_str());
    std::exit(64);
  }

  static double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    const size_t n = v.size();
    return n % 2 != 0 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
  }

  static void print_row(const Result& r) {
    const auto [low, high] = std::minmax_element(r.real_ns.begin(), r.real_ns.end());
    std::printf("%-36s %5zu %12.2f %12.2f %12.2f  %016llx\n", r.name.c_str(), r.real_ns.size(),
                median(r.real_ns), *low, *high, static_cast<unsigned long long>(r.hash));
    std::fflush(stdout);
  }

  // One record a repetition, as google/benchmark does: compare.py tests them for significance.
  void print_json() const {
    std::printf("{\n  \"context\": {\n    \"date\": \"%s\",\n    \"executable\": \"%s\",\n",
                date().c_str(), escaped(program_).c_str());
    std::printf("    \"num_cpus\": %u,\n    \"library_build_type\": \"%s\"\n  },\n",
                std::thread::hardware_concurrency(), kBuildType);
    std::printf("  \"benchmarks\": [");
    const char* separator = "\n";
    for (const Result& r : results_) {
      for (size_t i = 0; i < r.real_ns.size(); ++i) {
        std::printf("%s", separator);
        print_record(r, i);
        separator = ",\n";
      }
    }
    std::printf("\n  ]\n}\n");
  }
  static void print_record(const Result& r, size_t repetition) {
    const std::string name = escaped(r.name);
    std::printf("    {\"name\": \"%s\", \"run_name\": \"%s\", \"run_type\": \"iteration\", ",
                name.c_str(), name.c_str());
    std::printf("\"repetitions\": %zu, \"repetition_index\": %zu, \"threads\": 1, ",
                r.real_ns.size(), repetition);
    std::printf("\"iterations\": %llu, \"real_time\": %.6g, \"cpu_time\": %.6g, ",
                static_cast<unsigned long long>(r.operations), r.real_ns[repetition],
                r.cpu_ns[repetition]);
    std::printf("\"time_unit\": \"ns\", \"label\": \"hash %016llx\"}",
                static_cast<unsigned long long>(r.hash));
  }

  static std::string date() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &utc);
    return text;
  }
  static std::string escaped(const std::string& s) {  // names hold no control characters
    std::string out;
    for (const char c : s) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  }

#ifdef NDEBUG
  static constexpr const char* kBuildType = "release";
#else
  static constexpr const char* kBuildType = "debug";
#endif

  std::string program_;
  std::string filter_;
  int repetitions_ = 5;
  bool json_ = false;
  std::vector<Result> results_;
};

}  // namespace orrery
