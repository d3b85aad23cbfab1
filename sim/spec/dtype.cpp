#include "sim/spec/dtype.h"

namespace orrery {

const std::string_view kDtypeNames[kDtypes] = {
    "fp32",         "bf16",        "fp8_1x128",  "fp8_128x128", "e5m6",  "int32",
    "int64",        "uint8",       "fp8_tensor", "mxfp8",       "nvfp4", "fp8_tensor_weight",
    "mxfp8_weight", "nvfp4_weight"};

namespace {

Bytes weight_copies(Dtype dtype, int64_t rows, int64_t cols) {
  return Bytes(2 * rows * cols) + tensor_bytes(dtype, rows, cols) + tensor_bytes(dtype, cols, rows);
}

}  // namespace

Bytes tensor_bytes(Dtype dtype, int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  const int64_t row_tiles = (cols + 127) / 128;
  switch (dtype) {
    case Dtype::kFp32:
    case Dtype::kInt32:
      return Bytes(4 * n);
    case Dtype::kInt64:
      return Bytes(8 * n);
    case Dtype::kBf16:
      return Bytes(2 * n);
    case Dtype::kFp8Row:
      return Bytes(n + 4 * rows * row_tiles);
    case Dtype::kFp8Block:
      return Bytes(n + 4 * ((rows + 127) / 128) * row_tiles);
    case Dtype::kUint8:
      return Bytes(n);
    case Dtype::kE5M6:
      return Bytes(n + n / 2 + 4 * rows * row_tiles);
    case Dtype::kFp8Tensor:
      return Bytes(n + 4);
    case Dtype::kMxfp8:
      return Bytes(n + rows * ((cols + 31) / 32));
    case Dtype::kNvfp4:
      return Bytes((n + 1) / 2 + rows * ((cols + 15) / 16) + 4);
    case Dtype::kFp8TensorWeight:
      return weight_copies(Dtype::kFp8Tensor, rows, cols);
    case Dtype::kMxfp8Weight:
      return weight_copies(Dtype::kMxfp8, rows, cols);
    case Dtype::kNvfp4Weight:
      return weight_copies(Dtype::kNvfp4, rows, cols);
  }
  return Bytes(0);
}

}  // namespace orrery
