#include "kernels/attention/bulk_launch.h"

#include <algorithm>
#include <string>

namespace orrery::kernels::attention {

Status map_rows(CUtensorMap* map, const bf16* x, int64_t ld, int64_t width, int box_rows,
                const AttentionShape& s) {
  TensorMapShape t;
  t.data = x, t.rows = s.seq, t.cols = width, t.row_bytes = ld * 2;
  t.box_rows = box_rows, t.box_cols = kChunk;
  t.matrices = s.batch, t.matrix_bytes = s.seq * ld * 2;
  return make_tensor_map(map, TensorMapKind::kBf16, t);
}

Status times_in_l2(int64_t bytes, int64_t* times) {
  int device = 0, l2_bytes = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device);
  if (e != cudaSuccess) return failed(std::string("attention: ").append(cudaGetErrorString(e)));
  *times = std::max<int64_t>(1, int64_t{l2_bytes} * 2 / 3 / bytes);
  return {};
}

}  // namespace orrery::kernels::attention
