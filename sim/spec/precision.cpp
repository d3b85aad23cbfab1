#include "sim/spec/precision.h"

namespace orrery {

const std::string_view kPrecisionNames[kPrecisions] = {
    "bf16", "fp8", "fp16", "fp8_delayed", "fp8_current", "fp8_rowwise", "mxfp8", "nvfp4"};

bool casts_operands(Precision p) {
  return p != Precision::kBf16 && p != Precision::kFp16 && p != Precision::kFp8;
}

bool casts_both_ways(Precision p) { return casts_operands(p) && p != Precision::kFp8Rowwise; }

bool needs_amax(Precision p) { return p == Precision::kFp8Current || p == Precision::kNvfp4; }

Dtype operand_dtype(Precision p) {
  switch (p) {
    case Precision::kFp8:
      return Dtype::kFp8Row;
    case Precision::kFp8Delayed:
    case Precision::kFp8Current:
    case Precision::kFp8Rowwise:
      return Dtype::kFp8Tensor;
    case Precision::kMxfp8:
      return Dtype::kMxfp8;
    case Precision::kNvfp4:
      return Dtype::kNvfp4;
    default:
      return Dtype::kBf16;
  }
}

Dtype weight_dtype(Precision p) {
  switch (p) {
    case Precision::kFp8:
      return Dtype::kFp8Block;
    case Precision::kFp8Delayed:
    case Precision::kFp8Current:
    case Precision::kFp8Rowwise:
      return Dtype::kFp8TensorWeight;
    case Precision::kMxfp8:
      return Dtype::kMxfp8Weight;
    case Precision::kNvfp4:
      return Dtype::kNvfp4Weight;
    default:
      return Dtype::kBf16;
  }
}

}  // namespace orrery
