#include "runtime/io/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "runtime/io/mapped_file.h"
#include "sim/base/error.h"
#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

[[noreturn]] void fail_write(const std::string& path, int error) {
  throw Error(ExitCode::kIoError,
              path + ": cannot write the file: " + std::system_category().message(error));
}

// The step of a line, or nothing when it is not a metrics line.
std::optional<int64_t> step_of(std::string_view line, const std::string& path) {
  try {
    const json::Node node = json::parse_json(line, path);
    const json::Node* step = node.find("step");
    if (step != nullptr && step->kind == json::Node::Kind::kInteger) return step->integer;
  } catch (const InputError&) {
    return std::nullopt;
  }
  return std::nullopt;
}

// Whether a last line without its end can be one of ours that was cut short. After a power failure
// it may go on, or be, zero bytes.
bool can_be_torn(std::string_view line) {
  constexpr std::string_view kBegin = "{\"step\":";
  line = line.substr(0, line.find_last_not_of('\0') + 1);
  return kBegin.starts_with(line.substr(0, kBegin.size()));
}

struct Kept {
  uint64_t bytes = 0;
  bool needs_newline = false;
  std::optional<int64_t> last_step;
};

// Looks from the end, since what is removed is there.
Kept lines_to_keep(std::string_view text, int64_t resumed_step, const std::string& path) {
  bool last = true;
  while (!text.empty()) {
    const bool ends = text.back() == '\n';
    const std::string_view body = ends ? text.substr(0, text.size() - 1) : text;
    const std::size_t before = body.rfind('\n');
    const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
    const std::optional<int64_t> step = step_of(body.substr(begin), path);
    if (step && *step <= resumed_step) return {text.size(), !ends, step};
    const bool torn = last && !ends && can_be_torn(body.substr(begin));
    if (!step && !torn) {
      throw InputError({{path, "found a line, at byte " + std::to_string(begin) +
                                   ", that is no object with an integer \"step\"; this is no "
                                   "metrics file, or it is damaged: nothing was changed"}});
    }
    text = text.substr(0, begin);
    last = false;
  }
  return {};
}

nlohmann::ordered_json value_of(const MetricValue& value) {
  return std::visit([](const auto& v) { return nlohmann::ordered_json(v); }, value);
}

std::string line_of(int64_t step, std::span<const Metric> metrics, const std::string& path) {
  nlohmann::ordered_json line = {{"step", step}};
  for (const auto& [name, value] : metrics) {
    if (!line.emplace(name, value_of(value)).second) {
      throw Error(ExitCode::kInternal, path + ": metric " + in_quotes(name) + " is given twice");
    }
  }
  // Text that is not UTF-8 must not end a training run.
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

MetricsWriter::MetricsWriter(std::string path, std::optional<int64_t> resumed_step)
    : path_(std::move(path)) {
  std::error_code ignored;
  Kept kept;
  if (std::filesystem::exists(path_, ignored)) {
    const MappedFile file(path_);
    const std::span<const std::byte> bytes = file.bytes();
    if (!resumed_step && !bytes.empty()) {
      throw Error(ExitCode::kCannotCreate,
                  path_ +
                      ": the file has content already: resume its run, move it away or choose "
                      "another name");
    }
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (resumed_step) kept = lines_to_keep(text, *resumed_step, path_);
  }
  last_step_ = kept.last_step;
  size_ = kept.bytes;

  fd_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw Error(ExitCode::kCannotCreate,
                path_ + ": cannot create the file: " + std::system_category().message(errno));
  }
  const bool trimmed = ::ftruncate(fd_, static_cast<off_t>(size_)) == 0 &&
                       (!kept.needs_newline || ::write(fd_, "\n", 1) == 1);
  const int error = errno;
  if (!trimmed) {
    ::close(fd_);
    fail_write(path_, error);
  }
  if (kept.needs_newline) ++size_;
}

MetricsWriter::~MetricsWriter() { ::close(fd_); }

void MetricsWriter::write(int64_t step, std::span<const Metric> metrics) {
  if (last_step_ && step <= *last_step_) {
    throw Error(ExitCode::kInternal, path_ + ": metrics of step " + std::to_string(step) +
                                         " after those of step " + std::to_string(*last_step_));
  }
  const std::string line = line_of(step, metrics, path_);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // If even this fails, the next run removes the torn line.
      [[maybe_unused]] const int done = ::ftruncate(fd_, static_cast<off_t>(size_));
      fail_write(path_, error);
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  size_ += line.size();
  last_step_ = step;
}

void MetricsWriter::sync() {
  // Some file systems cannot flush.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) fail_write(path_, errno);
}

}  // namespace orrery
