// Metrics of a training run: a file of JSON lines, one object per step, that survives being killed
// and resumed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

namespace orrery {

using MetricValue = std::variant<int64_t, double, bool, std::string>;
using Metric = std::pair<std::string, MetricValue>;

class MetricsWriter {
 public:
  // A new run (`resumed_step` empty) creates the file; one that has content is an Error with
  // kCannotCreate, so that no run writes over another. A run that resumes after step `resumed_step`
  // keeps the lines up to that step and removes the later ones, which it will write again, and a
  // last line that was cut short. A line that is no metrics line is an InputError, and nothing is
  // removed then; a file that is not there is created.
  explicit MetricsWriter(std::string path, std::optional<int64_t> resumed_step = std::nullopt);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // Appends {"step": .., the metrics in order} in one write, so that a process that is killed later
  // loses nothing. A number that is not finite becomes null, since JSON has none. Steps must
  // increase and names be unique: Error with kInternal. Throws Error with kIoError when the disk is
  // full, and leaves no part of the line.
  void write(int64_t step, std::span<const Metric> metrics);
  void sync();  // to the disk, for a power failure; call it before a checkpoint

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  std::optional<int64_t> last_step_;
};

}  // namespace orrery
