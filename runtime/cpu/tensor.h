// Tensors of the CPU backend: every float type is T, integers are int32.
#pragma once

#include <cstdint>
#include <vector>

namespace orrery {

template <class T>
struct HostTensor {
  std::vector<T> values;
  std::vector<int32_t> ints;
  int64_t rows = 0, cols = 0;
  bool live = false;
  uint8_t readers_left = 0;
  int64_t counted_bytes = 0;  // in what the rank holds

  int64_t bytes() const {
    return static_cast<int64_t>(values.size() * sizeof(T) + ints.size() * sizeof(int32_t));
  }

  void copy_from(const HostTensor& o) {
    values = o.values;
    ints = o.ints;
    rows = o.rows;
    cols = o.cols;
  }
  T* resize(int64_t r, int64_t c) {
    rows = r;
    cols = c;
    values.assign(static_cast<std::size_t>(r * c), T(0));
    return values.data();
  }
  int32_t* resize_ints(int64_t r, int64_t c) {
    rows = r;
    cols = c;
    ints.assign(static_cast<std::size_t>(r * c), 0);
    return ints.data();
  }
};

}  // namespace orrery
