#include "sim/calibrate/gpu_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "sim/calibrate/constants.h"
#include "sim/calibrate/summary.h"
#include "sim/spec/cluster.h"
#include "sim/spec/profile_file.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// Words of letters and digits that hold a digit: "NVIDIA A100-SXM4-80GB" has a100, sxm4 and 80gb.
std::vector<std::string> model_words(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  const auto end = [&] {
    if (word.size() > 1 && word.find_first_of("0123456789") != std::string::npos)
      words.push_back(word);
    word.clear();
  };
  for (const char c : text)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else
      end();
  end();
  return words;
}

// How many of the device's words a profile's name has; 0 unless the first, the model, is one.
int shared_words(const std::string& device, const std::string& profile) {
  const std::vector<std::string> of_device = model_words(device), words = model_words(profile);
  int shared = 0;
  for (const std::string& w : of_device) {
    const bool found = std::find(words.begin(), words.end(), w) != words.end();
    if (!found && shared == 0) return 0;
    shared += found ? 1 : 0;
  }
  return shared;
}

// "gpu/h200_sxm5", ..., in their order, without those that a calibration wrote.
std::vector<std::string> profile_names(const fs::path& profiles, const char* folder) {
  std::vector<std::string> names;
  std::error_code failed;
  for (const auto& e : fs::directory_iterator(profiles / folder, failed)) {
    const std::string stem = e.path().stem().string();
    if (e.path().extension() == ".json" && !stem.ends_with("_measured"))
      names.push_back(fmt::format("{}/{}", folder, stem));
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <class Read>
auto load_named(const fs::path& profiles, const std::string& name, Read read) {
  const json::Node n = load_profile(profiles / fmt::format("{}.json", name), profiles);
  Diagnostics d;
  auto spec = read(json::Reader(n, "", d));
  d.throw_if_any();
  return spec;
}

}  // namespace

ordered_json measured_number(double value, const std::string& reference, const std::string& date) {
  return {{"value", value}, {"source", "measured"}, {"reference", reference}, {"date", date}};
}

std::string class_reference(const ClassFit& f, const Measured& m, const std::string& run) {
  const std::string start = fmt::format("orrery calibrate on {}, {}: ", m.gpu, run);
  if (f.name == kStreamLaunches)
    return start + "launch_gap_us, and as much more as empty kernels are further apart in a stream";
  if (f.name == kL2Copies)
    return start + "copies within L2, read and written bytes, the slope from the least to the most";
  if (f.points.empty())
    return fmt::format("{}between kernels of a CUDA graph, no thread running", start);
  const ClassErrors fitted = summarise(f, m, Part::kFitted), held = summarise(f, m, Part::kHeldOut);
  std::string text = fmt::format("{}{} points fitted, median error {:.1f} %, largest {:.1f} %",
                                 start, fitted.count, 100 * fitted.median, 100 * fitted.largest);
  if (held.count > 0)
    text += fmt::format("; {} held out, {:.1f} % and {:.1f} %", held.count, 100 * held.median,
                        100 * held.largest);
  return text;
}

namespace {

// What the held-out points say about the classes, for the intervals of predictions.
ordered_json calibration_errors(const Calibration& c, const Measured& m, const std::string& run) {
  ordered_json held;
  for (const ClassFit& f : c.classes) {
    const ClassErrors e = summarise(f, m, Part::kHeldOut);
    if (e.count > 0) held[f.name] = {{"points", e.count}, {"rms_ln", four_digits(e.rms_ln)}};
  }
  if (held.is_null()) return held;
  return {{"reference", fmt::format("orrery calibrate on {}, {}", m.gpu, run)},
          {"held_out", std::move(held)}};
}

}  // namespace

GpuSpec load_gpu(const fs::path& profiles, const std::string& name) {
  return load_named(profiles, name, read_gpu);
}

ClusterSpec load_cluster(const fs::path& profiles, const std::string& name) {
  return load_named(profiles, name, read_cluster);
}

std::string nearest_cluster_profile(const fs::path& profiles, const std::string& device,
                                    int64_t gpus_per_node) {
  std::string best;
  std::pair<int64_t, int64_t> least;
  for (const std::string& name : profile_names(profiles, "cluster")) {
    const ClusterSpec c = load_cluster(profiles, name);
    if (shared_words(device, c.node.gpu.name) == 0 || c.node.gpus < gpus_per_node) continue;
    const std::pair<int64_t, int64_t> distance{c.nodes, c.node.gpus - gpus_per_node};
    if (best.empty() || distance < least) best = name, least = distance;
  }
  if (best.empty())
    throw Error(ExitCode::kNoInput,
                fmt::format("no cluster profile has nodes of {} GPUs or more like \"{}\"; name one "
                            "with --cluster",
                            gpus_per_node, device));
  return best;
}

std::string nearest_gpu_profile(const fs::path& profiles, const std::string& device,
                                int64_t multiprocessors, double memory_GiB) {
  const std::vector<std::string> names = profile_names(profiles, "gpu");
  if (names.empty())
    throw Error(ExitCode::kNoInput,
                fmt::format("{}: no GPU profile there", (profiles / "gpu").string()));
  std::string best;
  double least = 0;
  for (const std::string& name : names) {
    const GpuSpec g = load_gpu(profiles, name);
    const double sms = g.sm_count.value / static_cast<double>(multiprocessors) - 1;
    const double memory = g.hbm_capacity_GiB.value / memory_GiB - 1;
    const int shared = shared_words(device, g.name);
    const double distance =
        (shared > 0 ? 0 : 1e3) - 0.1 * shared + std::abs(sms) + std::abs(memory);
    if (best.empty() || distance < least) best = name, least = distance;
  }
  return best;
}

ordered_json gpu_profile(const Calibration& c, const Measured& m, const std::string& base,
                         const std::string& run) {
  const std::string driver =
      fmt::format("orrery calibrate on {}, {}: as the driver states it", m.gpu, run);
  ordered_json j{{"extends", base}, {"name", fmt::format("{}, measured", m.gpu)}};
  j["sm_count"] = measured_number(static_cast<double>(m.multiprocessors), driver, m.date);
  j["hbm_capacity_GiB"] = measured_number(std::floor(10 * m.memory_GiB) / 10,
                                          fmt::format("{}, rounded down", driver), m.date);
  if (m.power_limit_W > 0 && c.gpu.power.limit_W.value > 0)
    j["power"]["limit_W"] = measured_number(m.power_limit_W, driver, m.date);
  for (const ClassFit& f : c.classes) {
    const std::string reference = class_reference(f, m, run);
    for (const MeasuredConstant& k : f.constants)
      if (k.measured)
        j[ordered_json::json_pointer(k.pointer)] = measured_number(k.value, reference, m.date);
  }
  ordered_json errors = calibration_errors(c, m, run);
  if (!errors.is_null()) j["calibration"] = std::move(errors);
  return j;
}

}  // namespace orrery
