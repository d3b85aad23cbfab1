// The maps of head_parts.h in plain loops.
#pragma once

#include <cstdint>

namespace orrery::kernels {

// Arguments as HeadPartsParams has them; `split` says which of the two maps.
template <class T>
void head_parts_reference(int64_t sequences, int64_t length, int64_t width, int64_t first,
                          int64_t parts, bool split, const T* x, T* out) {
  const int64_t narrow = width / parts, of_first = first / parts;
  for (int64_t s = 0; s < sequences; ++s)
    for (int64_t p = 0; p < parts; ++p)
      for (int64_t t = 0; t < length; ++t)
        for (int64_t i = 0; i < narrow; ++i) {
          const int64_t column =
              i < of_first ? p * of_first + i : first + p * (narrow - of_first) + i - of_first;
          const int64_t whole = (s * length + t) * width + column;
          const int64_t part = ((s * parts + p) * length + t) * narrow + i;
          if (split)
            out[part] = x[whole];
          else
            out[whole] = x[part];
        }
}

}  // namespace orrery::kernels
