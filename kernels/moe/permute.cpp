#include "kernels/moe/permute.h"

#include "kernels/moe/rows.h"

namespace orrery::kernels {

Status permute(const PermuteParams& p, cudaStream_t stream) {
  if (p.slot_row != nullptr)
    return scatter_rows("permute",
                        {.count = p.arrived,
                         .cols = p.cols,
                         .k = p.k,
                         .index = p.slot_row,
                         .capacity = p.capacity,
                         .rows = p.rows,
                         .filled = p.row_slot,
                         .x = p.x,
                         .out = p.out,
                         .x8 = p.x8,
                         .out8 = p.out8},
                        stream);
  return gather_rows("permute",
                     {.capacity = p.capacity,
                      .cols = p.cols,
                      .rows = p.rows,
                      .index = p.row_slot,
                      .divisor = p.k,
                      .x = p.x,
                      .out = p.out,
                      .x8 = p.x8,
                      .out8 = p.out8},
                     stream);
}

Status unpermute(const UnpermuteParams& p, cudaStream_t stream) {
  return sum_rows("unpermute",
                  {.rows = p.arrived,
                   .cols = p.cols,
                   .k = p.k,
                   .index = p.slot_row,
                   .weights = p.weights,
                   .x = p.y,
                   .addend = nullptr,
                   .out = p.out},
                  stream);
}

}  // namespace orrery::kernels
