// Bit-for-bit comparison, which sees the difference between NaNs and between zeros too.
#pragma once

#include <cstring>
#include <vector>

namespace orrery::gpu_test {

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace orrery::gpu_test
