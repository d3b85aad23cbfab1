#include "runtime/launch/flight_recorder.h"

#include <algorithm>
#include <bit>

namespace orrery {

// A slot is valid when `version` is 2·number + 2 before and after reading it; odd: being written.
// Every field is atomic, so that a reader which loses the race reads nonsense, but nothing
// undefined.
struct FlightRecorder::Slot {
  std::atomic<uint64_t> version{0};
  std::atomic<uint64_t> bytes{0}, event{0};
  std::atomic<int64_t> launched{0};
  std::atomic<uint32_t> op{0}, sequence{0};
  std::atomic<CommKind> communicator{CommKind::kNone};
};

// On cache lines of its own: streams may be recorded by different threads.
struct alignas(64) FlightRecorder::Ring {
  std::atomic<uint64_t> count{0};
  std::unique_ptr<Slot[]> slots;
};

FlightRecorder::FlightRecorder(std::vector<std::string> stream_names, std::size_t capacity)
    : names_(std::move(stream_names)),
      mask_(std::bit_ceil(std::max<std::size_t>(capacity, 1)) - 1),
      rings_(std::make_unique<Ring[]>(names_.size())) {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    rings_[i].slots = std::make_unique<Slot[]>(mask_ + 1);
  }
}

FlightRecorder::~FlightRecorder() = default;

void FlightRecorder::record(int stream, const FlightRecord& record) noexcept {
  Ring& ring = rings_[static_cast<std::size_t>(stream)];
  const uint64_t number = ring.count.load(std::memory_order_relaxed);
  Slot& slot = ring.slots[number & mask_];
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  slot.version.store(2 * number + 1, std::memory_order_relaxed);
  // Releases, not a fence: they keep the odd version ahead of them, and cost nothing on x86.
  slot.bytes.store(record.bytes, std::memory_order_release);
  slot.event.store(record.event, std::memory_order_release);
  slot.launched.store(std::chrono::nanoseconds(now).count(), std::memory_order_release);
  slot.op.store(record.op, std::memory_order_release);
  slot.sequence.store(record.sequence, std::memory_order_release);
  slot.communicator.store(record.communicator, std::memory_order_release);
  slot.version.store(2 * number + 2, std::memory_order_release);
  ring.count.store(number + 1, std::memory_order_release);
}

uint64_t FlightRecorder::launches(int stream) const {
  return rings_[static_cast<std::size_t>(stream)].count.load(std::memory_order_acquire);
}

std::vector<FlightRecorder::Entry> FlightRecorder::entries(int stream) const {
  const Ring& ring = rings_[static_cast<std::size_t>(stream)];
  const uint64_t end = launches(stream);
  std::vector<Entry> entries;
  for (uint64_t n = end - std::min<uint64_t>(end, mask_ + 1); n < end; ++n) {
    const Slot& slot = ring.slots[n & mask_];
    if (slot.version.load(std::memory_order_acquire) != 2 * n + 2) continue;
    Entry e;
    e.number = n;
    // Acquires keep the second look at the version behind them.
    e.record.bytes = slot.bytes.load(std::memory_order_acquire);
    e.record.event = slot.event.load(std::memory_order_acquire);
    const std::chrono::nanoseconds launched(slot.launched.load(std::memory_order_acquire));
    e.launched = std::chrono::steady_clock::time_point(launched);
    e.record.op = slot.op.load(std::memory_order_acquire);
    e.record.sequence = slot.sequence.load(std::memory_order_acquire);
    e.record.communicator = slot.communicator.load(std::memory_order_acquire);
    if (slot.version.load(std::memory_order_relaxed) == 2 * n + 2) entries.push_back(e);
  }
  return entries;
}

}  // namespace orrery
