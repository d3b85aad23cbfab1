// A weight's first values, made on the device.
#pragma once

#include <cuda_runtime.h>

#include "kernels/base/status.h"
#include "kernels/base/types.h"

namespace orrery::kernels {

// A shard of a matrix whose rows (of any number, all of `width` elements here and ways · width in
// the whole matrix) are split: the first `first` elements of each, and the rest, are shard number
// `index` of `ways` of two parts that follow each other in the whole row. A matrix that is split by
// rows counts as one row.
struct WeightShard {
  int64_t ways = 1, index = 0;
  int64_t width = 0, first = 0;  // read when ways > 1; first = width: one part
};

// `groups` matrices of `each` elements, one after the other, those of experts from `first_expert`
// on: round_to_bf16(sigma · normal(key of the expert, element)), see normal.h; or `constant`
// everywhere. Of matrices that are split between ranks these are the elements of one shard.
// `master` gets those in [master_begin, master_end) too: element i at master[i - master_begin].
struct InitialWeightsParams {
  int64_t groups = 1, each = 0;
  WeightShard shard = {};
  uint64_t key = 0;  // of the weight
  int64_t first_expert = 0;
  bool random = true;
  double sigma = 0;
  float constant = 0;
  bf16* out = nullptr;      // [groups · each]
  float* master = nullptr;  // may be nullptr when the range is empty
  int64_t master_begin = 0, master_end = 0;
};
Status initial_weights(const InitialWeightsParams& p, cudaStream_t stream);

}  // namespace orrery::kernels
