#include "runtime/cuda/activation_collectives.h"

#include "kernels/quant/cast.h"
#include "runtime/model/row_block.h"

namespace orrery {
namespace {

// What a row of a tensor has in each of its arrays, which begin where all rows of the ones before
// end: its elements and, of a block-scaled tensor, their scales.
struct RowArrays {
  int64_t elements, scales;  // bytes
};
RowArrays row_arrays(Dtype dtype, int64_t cols) {
  const int64_t scales = 4 * kernels::tiles(cols);
  if (dtype == Dtype::kFp8Row) return {cols, scales};
  if (dtype == Dtype::kE5M6) return {kernels::e5m6_row_bytes(cols), scales};
  return {tensor_bytes(dtype, 1, cols).count(), 0};
}

void gather_rows(CudaOpCall& c, Collectives& group) {
  const CudaTensor &own = *c.in[0], &all = *c.out[0];
  const RowArrays row = row_arrays(c.graph.tensors[c.graph.inputs(c.op)[0].v].dtype, own.cols);
  std::vector<Collectives::Gathered> arrays = {{own.data, all.data, own.rows * row.elements}};
  if (row.scales > 0)
    arrays.push_back({own.data + scale_offset(own.rows * row.elements),
                      all.data + scale_offset(all.rows * row.elements), own.rows * row.scales});
  group.all_gather(arrays, c.stream);
}

void sum_rows(CudaOpCall& c, Collectives& group) {
  const CudaTensor &x = *c.in[0], &sum = *c.out[0];
  if (c.graph.tensors[c.graph.inputs(c.op)[0].v].dtype != Dtype::kBf16)
    throw Error(ExitCode::kInternal, "activations are summed over ranks in BF16 only");
  if (c.op.kind == OpKind::kAllReduce)
    group.all_reduce(x.bf16(), sum.bf16(), x.rows * x.cols, c.stream);
  else
    group.reduce_scatter(x.bf16(), sum.bf16(), x.rows * x.cols, c.stream);
}

// Whole tensors from the rank so many places on.
void shift(CudaOpCall& c, Collectives& group) {
  const int64_t n = group.size(), places = c.shape().column > 0 ? c.shape().column : n - 1;
  const CudaTensor& x = *c.in[0];
  const int64_t bytes =
      tensor_bytes(c.graph.tensors[c.graph.inputs(c.op)[0].v].dtype, x.rows, x.cols).count();
  group.shift({{x.data, c.out[0]->data, bytes}}, (group.position() + n - places) % n,
              (group.position() + places) % n, c.stream);
}

// The block of rows that the rank before got last; the first step brings the rank's own too.
void gather_step(CudaOpCall& c, Collectives& group) {
  const CudaTensor &in = *c.in[0], &all = *c.out[0];
  const int64_t n = group.size(), at = group.position(), index = c.shape().index;
  const int64_t rows = c.shape().m, before = (at + n - 1) % n;
  const RowArrays row = row_arrays(c.graph.tensors[c.graph.inputs(c.op)[0].v].dtype, in.cols);
  std::vector<Collectives::Shifted> arrays;
  const auto add = [&](const char* from, char* to, int64_t row_bytes) {
    const int64_t block = rows * row_bytes;
    const char* sent = from + (index == 1 ? 0 : row_block(at, n, index) * block);
    if (index == 1)
      cuda_check(cudaMemcpyAsync(to + at * block, from, static_cast<std::size_t>(block),
                                 cudaMemcpyDeviceToDevice, c.stream),
                 "copying own rows");
    arrays.push_back({sent, to + row_block(before, n, index) * block, block});
  };
  add(in.data, all.data, row.elements);
  if (row.scales > 0)
    add(in.data + scale_offset(in.rows * row.elements),
        all.data + scale_offset(all.rows * row.elements), row.scales);
  group.shift(arrays, (at + 1) % n, before, c.stream);
}

}  // namespace

void launch_activation_collective(CudaOpCall& c, Collectives& group) {
  switch (c.op.kind) {
    case OpKind::kAllGather:
      return gather_rows(c, group);
    case OpKind::kReduceScatter:
    case OpKind::kAllReduce:
      return sum_rows(c, group);
    case OpKind::kRingExchange:
      return c.shape().index > 0 ? gather_step(c, group) : shift(c, group);
    default:
      throw Error(ExitCode::kInternal,
                  fmt::format("{} is no collective on activations", op_kind_name(c.op.kind)));
  }
}

}  // namespace orrery
