// Of grouped products that write their results: those of groups without rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/base/status.h"

namespace orrery::kernels {

// c[g - group] = 0 for every empty group g of `groups` groups from `group` on. elements: of a
// matrix, a multiple of 4; c: 16-byte aligned.
struct ZeroEmptyGroupsParams {
  int64_t group = 0, groups = 0;
  const int32_t* offsets = nullptr;  // on the device, at least group + groups + 1
  int64_t elements = 0;
  float* c = nullptr;  // [groups, elements]
};
Status zero_empty_groups(const ZeroEmptyGroupsParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
