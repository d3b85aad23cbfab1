// The values of a checkpoint's matrix as floats in our layout, and back.
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/io/safetensors.h"
#include "runtime/model/hf_names.h"

namespace orrery {

// BF16, F16 and F32 can be read, BF16 and F32 written.
bool hf_readable(SafetensorsDtype dtype);

// Copies `matrix` of the tensor, which has its shape and a readable type, to its place in ours,
// whose rows begin `ld` elements apart.
void read_hf_matrix(const HfMatrix& matrix, const Safetensor& tensor, float* ours, int64_t ld);

// The bytes of `matrix` from its place in ours; BF16 is rounded to nearest even.
std::vector<std::byte> write_hf_matrix(const HfMatrix& matrix, SafetensorsDtype dtype,
                                       const float* ours, int64_t ld);

}  // namespace orrery
