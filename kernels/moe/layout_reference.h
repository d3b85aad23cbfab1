// expert_layout in plain loops.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "kernels/moe/layout_view.h"

namespace orrery::kernels {

// From the arrived routing of `arrived` rows, `ld_routing` words apart, fills `out` (all of it) for
// experts [first_expert, first_expert + local_experts), with groups padded to multiples of `align`
// rows. With weights [arrived, k] (may be nullptr, and row_weight with it), row_weight [capacity]
// gets them per row like out.row_weight, in full precision. Throws when the rows exceed `capacity`.
template <class T>
void expert_layout_reference(int64_t arrived, int64_t k, int64_t local_experts, int64_t align,
                             int64_t capacity, const int32_t* routing, int64_t ld_routing,
                             int64_t first_expert, const T* weights, const ExpertLayout& out,
                             T* row_weight) {
  for (int64_t r = 0; r < capacity; ++r) {
    out.row_slot[r] = -1;
    out.row_weight[r] = 0;
    if (weights != nullptr) row_weight[r] = 0;
  }
  for (int64_t slot = 0; slot < arrived * k; ++slot) out.slot_row[slot] = -1;
  int64_t row = 0;
  for (int64_t e = 0; e < local_experts; ++e) {
    out.offsets[e] = static_cast<int32_t>(row);
    for (int64_t slot = 0; slot < arrived * k; ++slot) {
      const int32_t* of_row = routing + slot / k * ld_routing;
      if (of_row[slot % k] - first_expert != e) continue;
      if (row >= capacity) throw std::length_error("expert_layout: more rows than the capacity");
      out.slot_row[slot] = static_cast<int32_t>(row);
      out.row_slot[row] = static_cast<int32_t>(slot);
      out.row_weight[row] = word_to_float(of_row[k + slot % k]);
      if (weights != nullptr) row_weight[row] = weights[slot];
      ++row;
    }
    row = (row + align - 1) / align * align;
  }
  if (row > capacity) throw std::length_error("expert_layout: more rows than the capacity");
  out.offsets[local_experts] = static_cast<int32_t>(row);
}

}  // namespace orrery::kernels
