// `orrery calibrate`: measure this machine, and derive profiles from what was measured here, on
// another machine, or by nccl-tests.
#include "sim/calibrate/calibrate.h"

#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>

#include "sim/base/file.h"
#include "sim/base/progress.h"
#include "sim/calibrate/collectives.h"
#include "sim/calibrate/gpu_profile.h"
#include "sim/calibrate/kernel_rates.h"
#include "sim/cli/verbs.h"
#include "sim/report/calibration.h"
#include "sim/spec/profile_file.h"

#ifdef ORRERY_HAS_CUDA
#include "runtime/cuda/calibration.h"
#endif

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct CalibrateArguments {
  std::string from;
  std::vector<std::string> nccl_tests;
  std::string base, cluster, collectives = "collectives/nccl_2_28";
  std::string out, progress = "auto";
  bool dry_run = false, json = false, quiet = false;
};

ordered_json measure_here(const CalibrateArguments& a) {
#ifdef ORRERY_HAS_CUDA
  const ProgressMode mode = a.quiet                ? ProgressMode::kQuiet
                            : a.progress == "json" ? ProgressMode::kJson
                                                   : ProgressMode::kAuto;
  std::unique_ptr<Progress> progress;
  return measure_calibration([&](int64_t done, int64_t total) {
    if (!progress) progress = std::make_unique<Progress>("measuring", total, mode);
    progress->update(done);
  });
#else
  (void)a;
  throw Error(ExitCode::kUnavailable,
              "no GPU: this orrery was built without CUDA; --from FILE and --nccl-tests FILE "
              "need none");
#endif
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &utc);
  return text;
}

// A line for each point, so that a run can be read and compared.
std::string measured_text(const ordered_json& file) {
  std::string text = "{";
  for (const auto& [key, value] : file.items()) {
    text += fmt::format("{}\n  {}: ", text.size() > 1 ? "," : "", ordered_json(key).dump());
    if (!value.is_array()) {
      text += value.dump();
      continue;
    }
    const char* between = "[\n    ";
    for (const ordered_json& element : value) {
      text += fmt::format("{}{}", between, element.dump());
      between = ",\n    ";
    }
    text += value.empty() ? "[]" : "\n  ]";
  }
  return text + "\n}\n";
}

class Calibrate {
 public:
  explicit Calibrate(const CalibrateArguments& a)
      : a_(a), profiles_(fs::path(data_root()) / "hardware_profiles") {
    out_ = a.out.empty() ? profiles_ : fs::path(a.out);
  }

  void run() {
    read();
    if (measured_) gpu();
    if (!collectives_.empty()) links();
    if (a_.json) fmt::print("{}\n", report_.dump(2));
  }

 private:
  // What there is to derive from.
  void read() {
    for (const std::string& file : a_.nccl_tests) {
      const NcclTestRun run = read_nccl_tests(file);
      const std::vector<MeasuredPoint> points = collective_points(run, file);
      collectives_.insert(collectives_.end(), points.begin(), points.end());
      if (device_.empty()) device_ = run.gpu;
      run_ += fmt::format("{}{}", run_.empty() ? "nccl-tests: " : ", ",
                          fs::path(file).filename().string());
    }
    if (!a_.from.empty())
      measured_ = read_measured(json::parse_json_file(a_.from)), run_ = name_of(a_.from);
    else if (a_.nccl_tests.empty())
      measure();
    if (!measured_) return;
    device_ = measured_->gpu;
    if (collectives_.empty())
      for (const MeasuredPoint& p : measured_->points)
        if (p.family == Family::kCollective) collectives_.push_back(p);
  }

  void measure() {
    ordered_json j = measure_here(a_);
    ordered_json file{{"schema_version", 2}, {"date", today()}};
    file.update(j);
    const std::string text = measured_text(file);
    measured_ = read_measured(json::parse_json(text, "measured"));
    const fs::path folder = out_ / "measured" / fs::path(base_of(*measured_)).filename().string();
    const fs::path path = free_name(folder, measured_->date);
    write(path, text);
    run_ = name_of(path);
  }

  void gpu() {
    const std::string base = base_of(*measured_);
    const Calibration c = calibrate_gpu(*measured_, load_gpu(profiles_, base));
    const std::vector<KernelRateFit> rates = fit_kernel_rates(*measured_, c.gpu);
    if (a_.json) {
      report_["gpu"] = calibration_json(c, *measured_, base);
      report_["kernel_rates"] = kernel_rates_json(rates, *measured_);
    } else {
      fmt::print("{}\n{}", calibration_text(c, *measured_, base),
                 kernel_rates_text(rates, *measured_));
    }
    gpu_name_ = fmt::format("{}_measured", base);
    write_profile(gpu_name_, gpu_profile(c, *measured_, base, run_));
    write_profile(fmt::format("stack/orrery_{}_measured", fs::path(base).filename().string()),
                  stack_profile(rates, *measured_, "stack/orrery", run_));
  }

  void links() {
    const std::string name = a_.cluster.empty() ? nearest_cluster() : a_.cluster;
    const ClusterSpec cluster = load_cluster(profiles_, name);
    const json::Node file = load_profile(profiles_ / (a_.collectives + ".json"), profiles_);
    Diagnostics d;
    const CollectiveSpec base = read_collectives(json::Reader(file, "", d));
    d.throw_if_any();
    const CollectiveCalibration c = calibrate_collectives(collectives_, base, cluster);
    if (a_.json)
      report_["collectives"] = collectives_json(c);
    else
      fmt::print("{}{}", gpu_name_.empty() ? "" : "\n", collectives_text(c));
    const std::string date = measured_ ? measured_->date : today();
    const std::string stem = fs::path(name).filename().string();
    write_profile(fmt::format("cluster/{}_measured", stem),
                  cluster_profile(c, name, gpu_name_, run_, date));
    write_profile(fmt::format("collectives/{}_measured", stem),
                  collectives_profile(c, a_.collectives, run_, date));
  }

  std::string nearest_cluster() const {
    int64_t per_node = 1;
    for (const MeasuredPoint& p : collectives_) per_node = std::max(per_node, p.ranks / p.nodes);
    return nearest_cluster_profile(profiles_, device_, per_node);
  }

  std::string base_of(const Measured& m) const {
    return a_.base.empty() ? nearest_gpu_profile(profiles_, m.gpu, m.multiprocessors, m.memory_GiB)
                           : a_.base;
  }

  // As references name a file: from hardware_profiles on.
  std::string name_of(const fs::path& file) const {
    const fs::path relative = fs::absolute(file).lexically_normal().lexically_relative(
        fs::absolute(out_).lexically_normal());
    const bool inside = !relative.empty() && *relative.begin() != "..";
    return inside ? relative.generic_string() : file.filename().string();
  }

  static fs::path free_name(const fs::path& folder, const std::string& date) {
    fs::path path = folder / fmt::format("{}.json", date);
    for (int i = 2; fs::exists(path); ++i) path = folder / fmt::format("{}_{}.json", date, i);
    return path;
  }

  void write_profile(const std::string& name, const ordered_json& profile) const {
    if (!profile.is_null()) write(out_ / (name + ".json"), profile.dump(2) + "\n");
  }

  void write(const fs::path& path, const std::string& text) const {
    if (a_.dry_run) return;
    std::error_code failed;
    fs::create_directories(path.parent_path(), failed);
    write_file_atomically(path.string(), text);
    fmt::print(stderr, "wrote {}\n", path.string());
  }

  const CalibrateArguments& a_;
  fs::path profiles_, out_;
  std::optional<Measured> measured_;
  std::vector<MeasuredPoint> collectives_;
  std::string device_, run_, gpu_name_;
  ordered_json report_{{"schema_version", 1}};
};

}  // namespace

void add_calibrate(CLI::App& app) {
  auto a = std::make_shared<CalibrateArguments>();
  CLI::App* verb = app.add_subcommand(
      "calibrate", "Measure this machine's GPUs, and derive profiles from what was measured");
  verb->add_option("--from", a->from, "derive from this measured file instead of measuring");
  verb->add_option("--nccl-tests", a->nccl_tests,
                   "derive collectives from output of nccl-tests, text or JSON (-J)");
  verb->add_option("--base", a->base, "GPU profile to extend, as gpu/h100_sxm5; default: nearest");
  verb->add_option("--cluster", a->cluster, "cluster profile whose links to fit; default: nearest");
  verb->add_option("--collectives", a->collectives, "profile of collectives to extend");
  verb->add_option("--out", a->out, "folder of profiles to write to; default: hardware_profiles");
  verb->add_flag("--dry-run", a->dry_run, "write no file");
  verb->add_flag("--json", a->json, "print one JSON document");
  verb->add_flag("--quiet", a->quiet, "no progress");
  verb->add_option("--progress", a->progress, "auto or json")
      ->check(CLI::IsMember({"auto", "json"}));
  verb->footer(
      "Examples:\n"
      "  orrery calibrate\n"
      "  orrery calibrate --from hardware_profiles/measured/h200_sxm5/2026-11-28_2.json\n"
      "  orrery calibrate --nccl-tests all_reduce.txt alltoall.json --cluster cluster/hgx_h100");
  verb->callback([a] { Calibrate(*a).run(); });
}

}  // namespace orrery
