// Element types of tensors, with the bytes one element takes in memory.
#pragma once

#include <cstdint>
#include <string_view>

#include "sim/base/units.h"

namespace orrery {

enum class Dtype : uint8_t {
  kFp32,
  kBf16,
  kFp8Row,    // E4M3 with one FP32 scale per 1x128 tile of a row
  kFp8Block,  // E4M3 with one FP32 scale per 128x128 block
  kE5M6,      // 12-bit float of DeepSeek-V3's stashed attention outputs, FP32 scale per 1x128
  kInt32,
  kInt64,
  kUint8,
  kFp8Tensor,  // E4M3 or E5M2 with one FP32 scale
  kMxfp8,      // E4M3 with one E8M0 scale per 1x32
  kNvfp4,      // E2M1 with one E4M3 scale per 1x16 and an FP32 one per tensor
  // A BF16 weight beside its row-wise and its column-wise copy in such a format.
  kFp8TensorWeight,
  kMxfp8Weight,
  kNvfp4Weight,
};
constexpr int kDtypes = 14;
extern const std::string_view kDtypeNames[kDtypes];

// Bytes of a [rows, cols] tensor including its scales: e.g. FP8 1x128 takes rows * (cols +
// 4 * ceil(cols / 128)).
Bytes tensor_bytes(Dtype dtype, int64_t rows, int64_t cols);

}  // namespace orrery
