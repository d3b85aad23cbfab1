#include "sim/cli/compare_inputs.h"

#include <filesystem>

#include "sim/base/error.h"
#include "sim/base/file.h"
#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

enum class Content : uint8_t { kOther, kRun, kKineto, kRunFolder };

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// By the words that each of them must have, so that no file is parsed twice.
Content content_of(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return exists(path + "/trace.json") && !exists(path + "/experiment.json") ? Content::kRunFolder
                                                                              : Content::kOther;
  const std::uintmax_t bytes = std::filesystem::file_size(path, ignored);
  if (!ignored && bytes > json::kMaxFileBytes)
    throw InputError({{path, "found " + bytes_text(bytes) + ", expected at most " +
                                 bytes_text(json::kMaxFileBytes) +
                                 "; scripts/reduce_kineto.py leaves out of a PyTorch trace what is "
                                 "not compared"}});
  const std::string text = read_file(path, json::kMaxFileBytes);
  if (text.starts_with("\x1f\x8b"))
    throw InputError({{path, "is compressed; unpack it first: gunzip -k " + path}});
  if (text.find("\"orrery_trace\"") != std::string::npos) return Content::kRun;
  return text.find("\"traceEvents\"") != std::string::npos ? Content::kKineto : Content::kOther;
}

[[noreturn]] void expected_one_trace(const std::string& found) {
  throw Error(ExitCode::kUsage,
              found +
                  ": compare takes an experiment and one trace, of `orrery run --trace` or of "
                  "PyTorch's profiler, or two traces of `orrery run`");
}

void check_numbers(const CompareInputs& in, std::size_t kineto) {
  const std::size_t traces = in.runs.size() + kineto;
  if (!in.experiment.empty()) {
    if (traces == 0) expected_one_trace("found no trace");
    if (traces > 1)
      expected_one_trace("found an experiment and " + std::to_string(traces) + " traces");
    return;
  }
  if (kineto > 0) expected_one_trace("found a PyTorch trace without the experiment that it is of");
  if (traces != 2)
    expected_one_trace(traces == 1 ? "found one trace alone" : "found no experiment");
}

}  // namespace

CompareInputs compare_inputs(const std::vector<std::string>& files,
                             const std::vector<std::string>& runs) {
  CompareInputs in;
  in.runs = runs;
  std::size_t kineto = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const Content content = content_of(files[i]);
    if (content == Content::kRun) {
      in.runs.push_back(files[i]);
    } else if (content == Content::kRunFolder) {
      in.runs.push_back(files[i] + "/trace.json");
      if (exists(files[i] + "/metrics.jsonl")) in.metrics = files[i] + "/metrics.jsonl";
    } else if (content == Content::kKineto) {
      in.kineto = files[i];
      ++kineto;
    } else if (i == 0) {
      in.experiment = files[i];
    } else {
      throw InputError({{files[i],
                         "found neither a trace of `orrery run` (\"kind\": \"orrery_trace\") nor a "
                         "PyTorch/Kineto one (\"traceEvents\")"}});
    }
  }
  check_numbers(in, kineto);
  return in;
}

}  // namespace orrery
