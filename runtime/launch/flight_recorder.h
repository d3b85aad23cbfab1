// What each stream was last told to do, for the time when it does not come back.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/graph/training_graph.h"

namespace orrery {

struct FlightRecord {
  uint32_t op = 0;                          // the meaning is up to FlightReaders::name
  CommKind communicator = CommKind::kNone;  // kNone: no communication
  uint32_t sequence = 0;                    // of the op on its communicator
  uint64_t bytes = 0;                       // moved or reduced by this rank
  uint64_t event = 0;                       // up to FlightReaders::state; 0: none follows the op
};

enum class FlightState : uint8_t { kUnknown, kLaunched, kCompleted };

// How records become text.
struct FlightReaders {
  std::function<std::string(uint32_t op)> name;                              // null: the number
  std::function<FlightState(int stream, const FlightRecord& record)> state;  // null: kUnknown
};

// A ring of the last launches per stream. record() takes no lock and allocates nothing; one thread
// at a time may record on a stream, and any thread may read meanwhile.
class FlightRecorder {
 public:
  struct Entry {
    FlightRecord record;
    uint64_t number = 0;  // of the launch on its stream, from 0
    std::chrono::steady_clock::time_point launched;
  };

  // `capacity` launches per stream are kept, rounded up to a power of two.
  FlightRecorder(std::vector<std::string> stream_names, std::size_t capacity);
  ~FlightRecorder();

  void record(int stream, const FlightRecord& record) noexcept;

  const std::vector<std::string>& streams() const { return names_; }
  uint64_t launches(int stream) const;  // so far
  // The last ones, oldest first, less those that are overwritten while they are read.
  std::vector<Entry> entries(int stream) const;

 private:
  struct Slot;
  struct Ring;

  std::vector<std::string> names_;
  std::size_t mask_;
  std::unique_ptr<Ring[]> rings_;
};

}  // namespace orrery
