#include "kernels/gemm/tensor_map.h"

#include <cuda_runtime.h>

#include <string>

namespace orrery::kernels {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function; nullptr without a driver that has it.
Encode find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  constexpr unsigned kSince = 12000;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince,
                                       cudaEnableDefault, &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess)
    return nullptr;
  return reinterpret_cast<Encode>(function);
}

}  // namespace

Status make_tensor_map(CUtensorMap* map, TensorMapKind kind, const TensorMapShape& shape) {
  static const Encode encode = find_encode();
  if (encode == nullptr) return failed("this driver has no cuTensorMapEncodeTiled");
  const CUtensorMapDataType type = kind == TensorMapKind::kBytes128 ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                   : kind == TensorMapKind::kFloats
                                       ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const auto number = [](int64_t x) { return static_cast<cuuint64_t>(x); };
  const cuuint64_t sizes[3] = {number(shape.cols), number(shape.rows), number(shape.matrices)};
  const cuuint64_t strides[2] = {number(shape.row_bytes), number(shape.matrix_bytes)};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(shape.box_cols),
                             static_cast<cuuint32_t>(shape.box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  const CUresult e = encode(
      map, type, kind == TensorMapKind::kBf16 ? 3 : 2, const_cast<void*>(shape.data), sizes,
      strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      kind == TensorMapKind::kFloats ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (e == CUDA_SUCCESS) return {};
  return failed(std::string("cuTensorMapEncodeTiled: error ").append(std::to_string(e)));
}

}  // namespace orrery::kernels
