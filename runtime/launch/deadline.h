// Points in time until which a call may block.
#pragma once

#include <algorithm>
#include <chrono>

namespace orrery {

using Deadline = std::chrono::steady_clock::time_point;

inline Deadline after(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

inline bool passed(Deadline deadline) { return std::chrono::steady_clock::now() >= deadline; }

// For poll(): at least 0, at most `cap`; rounded up, so that the deadline has passed afterwards.
inline int poll_milliseconds(Deadline deadline, std::chrono::milliseconds cap) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), cap).count());
}

}  // namespace orrery
