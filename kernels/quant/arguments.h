// Checks of arguments that the quantisation and GEMM launches share. Pointers are checked only when
// `used`: those of an empty tensor may be anything.
#pragma once

#include <string>

#include "kernels/base/launch.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// "rows is 7, expected a multiple of 16"
inline std::string expected(const char* name, int64_t value, const char* what, int64_t bound) {
  return std::string(name)
      .append(" is ")
      .append(std::to_string(value))
      .append(", expected ")
      .append(what)
      .append(std::to_string(bound));
}

inline Check multiple_of(const char* name, int64_t value, int64_t factor) {
  return {value >= 0 && value % factor == 0, expected(name, value, "a multiple of ", factor)};
}

inline Check at_least(const char* name, int64_t value, int64_t limit) {
  return {value >= limit, expected(name, value, "at least ", limit)};
}

inline Check at_most(const char* name, int64_t value, int64_t limit) {
  return {value <= limit, expected(name, value, "at most ", limit)};
}

inline Check equal(const char* name, int64_t value, int64_t other) {
  return {value == other, expected(name, value, "", other)};
}

inline Check pointer(const char* name, const void* p, bool used) {
  return {!used || p != nullptr, std::string(name).append(" is null")};
}

// Non-null and 16-byte aligned.
inline Check vector_pointer(const char* name, const void* p, bool used) {
  return {!used || (p != nullptr && aligned(p)),
          std::string(name).append(p == nullptr ? " is null" : " is not 16-byte aligned")};
}

// Grids count blocks along y and z in 16 bits.
constexpr int64_t kMaxGridYz = 65535;

}  // namespace orrery::kernels
