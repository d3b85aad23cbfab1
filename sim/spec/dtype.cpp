#include "sim/spec/dtype.h"

namespace orrery {

const std::string_view kDtypeNames[kDtypes] = {"fp32", "bf16",  "fp8_1x128", "fp8_128x128",
                                               "e5m6", "int32", "int64",     "uint8"};

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
  }
  return Bytes(0);
}

}  // namespace orrery
