#include "runtime/cuda/activation_collectives.h"

#include "kernels/elementwise/head_parts.h"
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

Dtype dtype_of(const CudaOpCall& c, std::size_t input) {
  return c.graph.tensors[c.graph.inputs(c.op)[input].v].dtype;
}

// Where each member's rows begin among all, and where they end.
std::vector<int64_t> member_rows(const CudaOpCall& c, const Collectives& group, int64_t own) {
  if (c.op.comm == CommKind::kExpertTensor) return c.routing->member_rows;
  std::vector<int64_t> begin;
  for (int64_t r = 0; r <= group.size(); ++r) begin.push_back(r * own);
  return begin;
}

void gather_rows(CudaOpCall& c, Collectives& group) {
  std::vector<Collectives::Gathered> arrays;
  for (std::size_t i = 0; i < c.in.size(); ++i) {
    const CudaTensor &own = *c.in[i], &all = *c.out[i];
    const RowArrays row = row_arrays(dtype_of(c, i), own.cols);
    arrays.push_back({own.data, all.data, row.elements});
    if (row.scales > 0)
      arrays.push_back({own.data + scale_offset(own.rows * row.elements),
                        all.data + scale_offset(all.rows * row.elements), row.scales});
  }
  group.all_gather(arrays, member_rows(c, group, c.in[0]->rows), c.stream);
}

void all_reduce(CudaOpCall& c, Collectives& group) {
  const CudaTensor &x = *c.in[0], &sum = *c.out[0];
  if (dtype_of(c, 0) != Dtype::kBf16)
    throw Error(ExitCode::kInternal, "activations are summed over ranks in BF16 only");
  group.all_reduce(x.bf16(), sum.bf16(), x.rows * x.cols, c.stream);
}

void scatter_sums(CudaOpCall& c, Collectives& group) {
  std::vector<Collectives::Summed> arrays;
  for (std::size_t i = 0; i < c.in.size(); ++i) {
    const Dtype dtype = dtype_of(c, i);
    if (dtype != Dtype::kBf16 && dtype != Dtype::kFp32)
      throw Error(ExitCode::kInternal, "rows are summed over ranks in BF16 or FP32 only");
    arrays.push_back({c.in[i]->data, c.out[i]->data, c.in[i]->cols, dtype == Dtype::kFp32});
  }
  group.reduce_scatter(arrays, member_rows(c, group, c.out[0]->rows), c.stream);
}

// Whole tensors from the rank so many places on.
void shift(CudaOpCall& c, Collectives& group) {
  const int64_t n = group.size(), places = c.shape().column > 0 ? c.shape().column : n - 1;
  std::vector<Collectives::Shifted> arrays;
  for (std::size_t i = 0; i < c.in.size(); ++i) {
    const CudaTensor& x = *c.in[i];
    arrays.push_back(
        {x.data, c.out[i]->data, tensor_bytes(dtype_of(c, i), x.rows, x.cols).count()});
  }
  group.shift(arrays, (group.position() + n - places) % n, (group.position() + places) % n,
              c.stream);
}

// The block of rows that the rank before got last; the first step brings the rank's own too.
void gather_step(CudaOpCall& c, Collectives& group) {
  const CudaTensor &in = *c.in[0], &all = *c.out[0];
  const int64_t n = group.size(), at = group.position(), index = c.shape().index;
  const int64_t rows = c.shape().m, before = (at + n - 1) % n;
  const RowArrays row = row_arrays(dtype_of(c, 0), in.cols);
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

// Between all heads of a rank's positions, `whole`, and a rank's heads of all positions, `split`:
// those of each sequence travel from and to where they lie in `split`, so that only `whole` is cut
// into what the members get, or put together.
void move_heads(CudaOpCall& c, Collectives& group, bool scatter) {
  if (dtype_of(c, 0) != Dtype::kBf16)
    throw Error(ExitCode::kInternal, "heads travel between ranks in BF16 only");
  const CudaTensor &whole = scatter ? *c.in[0] : *c.out[0], &split = scatter ? *c.out[0] : *c.in[0];
  kernels::HeadPartsParams p;
  p.parts = group.size();
  p.sequences = c.shape().k, p.length = whole.rows / p.sequences;
  p.width = whole.cols;
  p.first = scatter ? c.shape().first : c.shape().first * p.parts;  // in its input
  auto* cut = reinterpret_cast<kernels::bf16*>(c.scratch.get(2 * whole.rows * whole.cols));
  std::vector<Collectives::Rows> arrays;
  const int64_t row_bytes = 2 * split.cols, bytes = p.parts * p.length * row_bytes;
  for (int64_t s = 0; s < p.sequences; ++s) {
    char* of_whole = reinterpret_cast<char*>(cut) + s * bytes;
    char* of_split = split.data + s * bytes;
    arrays.push_back({scatter ? of_whole : of_split, scatter ? of_split : of_whole, row_bytes});
  }
  std::vector<int64_t> begin;
  for (int64_t r = 0; r <= p.parts; ++r) begin.push_back(r * p.length);
  if (scatter) {
    p.x = whole.bf16(), p.out = cut;
    launch_check(kernels::split_heads(p, c.stream));
  }
  group.exchange(arrays, begin, begin, c.stream);
  if (scatter) return;
  p.x = cut, p.out = whole.bf16();
  launch_check(kernels::join_heads(p, c.stream));
}

}  // namespace

void launch_activation_collective(CudaOpCall& c, Collectives& group) {
  switch (c.op.kind) {
    case OpKind::kAllGather:
      return gather_rows(c, group);
    case OpKind::kReduceScatter:
      return scatter_sums(c, group);
    case OpKind::kAllReduce:
      return all_reduce(c, group);
    case OpKind::kScatterHeads:
      return move_heads(c, group, true);
    case OpKind::kGatherHeads:
      return move_heads(c, group, false);
    case OpKind::kRingExchange:
      return c.shape().index > 0 ? gather_step(c, group) : shift(c, group);
    default:
      throw Error(ExitCode::kInternal,
                  fmt::format("{} is no collective on activations", op_kind_name(c.op.kind)));
  }
}

}  // namespace orrery
