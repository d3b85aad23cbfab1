#include <algorithm>
#include <numeric>

#include "kernels/activation/swiglu.h"
#include "kernels/bench/grid_points.cuh"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/loss/cross_entropy.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/optimizer/adamw.h"
#include "kernels/quant/cast.h"
#include "kernels/rope/rope.h"

namespace orrery::kernels::bench {
namespace {

constexpr int64_t kCols = 7168;
constexpr int64_t kRows[] = {256, 1024, 4096, 8192, 16384, 32768};
constexpr double kScale = 4.0 / kTile;  // a float for every 128 elements

Fp8View view(fp8* data, float* scales, int64_t rows, int64_t cols) {
  return {data, scales, rows, cols, 1, rows};
}

std::vector<GridPoint> streams(int64_t rows) {
  const int64_t n = rows * kCols;
  const auto bytes = static_cast<double>(n);
  const int count = sets(6 * bytes);
  const Turns<bf16> x(n, count), y(n, count, 2), out(n, count);
  return {measured(point("copy", "stream", 4 * bytes),
                   [&](int i, cudaStream_t s) {
                     const cudaError_t e =
                         cudaMemcpyAsync(out[i], x[i], 2 * static_cast<std::size_t>(n),
                                         cudaMemcpyDeviceToDevice, s);
                     return e == cudaSuccess ? Status{} : failed(cudaGetErrorString(e));
                   }),
          measured(point("scale", "stream", 4 * bytes),
                   [&](int i, cudaStream_t s) {
                     return scale({n, 0.5F, x[i], out[i]}, s);
                   }),
          measured(point("add", "stream", 6 * bytes), [&](int i, cudaStream_t s) {
            return add({n, {x[i], y[i]}, 2, out[i]}, s);
          })};
}

std::vector<GridPoint> norms(int64_t rows) {
  const int64_t n = rows * kCols;
  const auto bytes = static_cast<double>(n);
  const int count = sets(8 * bytes);
  const Turns<bf16> x(n, count), addend(n, count, 2), out(n, count), sum(n, count);
  const Buffer<bf16> weight(kCols);
  const Buffer<float> partial(kNormBlocks * kCols);
  RmsNormParams p;
  p.rows = rows, p.cols = kCols, p.weight = weight.get(), p.eps = 1e-6F;
  RmsNormBackwardParams b;
  b.rows = rows, b.cols = kCols, b.ld_dy = kCols, b.weight = weight.get(), b.eps = 1e-6F;
  b.partial = partial.get();
  const GridLaunch forward = [&](int i, cudaStream_t s) {
    p.x = x[i], p.out = out[i];
    return rms_norm(p, s);
  };
  const GridLaunch of_sum = [&](int i, cudaStream_t s) {
    p.addend[0] = addend[i], p.sum = sum[i];
    return forward(i, s);
  };
  const GridLaunch backward = [&](int i, cudaStream_t s) {
    b.dy = out[i], b.x = x[i], b.dx = sum[i];
    return rms_norm_backward(b, s);
  };
  std::vector<GridPoint> points;
  points.push_back(measured(point("rms_norm", "row_reduce", 4 * bytes), forward));
  points.push_back(measured(point("rms_norm of a sum", "row_reduce", 8 * bytes), of_sum));
  points.push_back(measured(point("rms_norm_backward", "row_reduce", 6 * bytes), backward));
  return points;
}

// Logits of 200 MB and more, which do not stay in L2.
std::vector<GridPoint> losses(int64_t vocabulary, int64_t tokens) {
  const Buffer<bf16> logits(tokens * vocabulary);
  const Buffer<int32_t> labels(tokens);
  need(cudaMemset(labels.get(), 0, static_cast<std::size_t>(tokens) * sizeof(int32_t)));
  const Buffer<float> row_loss(tokens), sum(1);
  CrossEntropyParams p;
  p.rows = tokens, p.vocab = vocabulary, p.logits = logits.get(), p.labels = labels.get();
  p.row_loss = row_loss.get(), p.loss_sum = sum.get();
  return {
      measured(point("cross_entropy", "row_reduce", 4.0 * static_cast<double>(tokens * vocabulary)),
               [&](int, cudaStream_t s) { return cross_entropy(p, s); })};
}

std::vector<GridPoint> casts(int64_t rows) {
  const int64_t n = rows * kCols;
  const auto bytes = static_cast<double>(n);
  const int count = sets(3 * bytes);
  const Turns<bf16> x(n, count);
  const Turns<fp8> q(n, count), t(n, count);
  const Turns<float> qs(n / kTile, count), ts(n / kTile, count);
  const auto rows_of = [&](int i) { return view(q[i], qs[i], rows, kCols); };
  const auto transpose_of = [&](int i) { return view(t[i], ts[i], kCols, rows); };
  std::vector<GridPoint> points;
  points.push_back(
      measured(point("cast_rows", "cast", (3 + kScale) * bytes), [&](int i, cudaStream_t s) {
        return cast_rows({rows, kCols, x[i], rows_of(i)}, s);
      }));
  points.push_back(
      measured(point("cast_back", "cast", (3 + kScale) * bytes), [&](int i, cudaStream_t s) {
        return cast_back({rows_of(i), x[i]}, s);
      }));
  CastTransposeParams p;
  p.rows = rows, p.cols = kCols;
  points.push_back(
      measured(point("cast_transpose of FP8", "cast_transpose", (2 + 2 * kScale) * bytes),
               [&](int i, cudaStream_t s) {
                 p.x8 = rows_of(i), p.out = transpose_of(i);
                 return cast_transpose(p, s);
               }));
  points.push_back(measured(point("cast_transpose of BF16", "cast_transpose", (3 + kScale) * bytes),
                            [&](int i, cudaStream_t s) {
                              p.x8 = {}, p.x = x[i], p.out = transpose_of(i);
                              return cast_transpose(p, s);
                            }));
  points.push_back(
      measured(point("transpose_block", "transpose", 2 * bytes), [&](int i, cudaStream_t s) {
        const Fp8Block from{q[i], qs[i], rows, kCols}, to{t[i], ts[i], kCols, rows};
        return transpose_block({1, rows, kCols, from, to}, s);
      }));
  return points;
}

// To and from 12 bits.
std::vector<GridPoint> packings(int64_t rows) {
  const int64_t n = rows * kCols;
  const int count = sets(3.5 * static_cast<double>(n));
  const double bytes = (3.5 + kScale) * static_cast<double>(n);
  const Turns<bf16> x(n, count);
  const Turns<uint8_t> packed(rows * e5m6_row_bytes(kCols), count);
  const Turns<float> scales(n / kTile, count);
  std::vector<GridPoint> points;
  points.push_back(measured(own_point("cast_e5m6", "cast", bytes), [&](int i, cudaStream_t s) {
    return cast_e5m6({rows, kCols, x[i], packed[i], scales[i]}, s);
  }));
  points.push_back(measured(own_point("cast_back_e5m6", "cast", bytes), [&](int i, cudaStream_t s) {
    return cast_back_e5m6({rows, kCols, packed[i], scales[i], x[i]}, s);
  }));
  return points;
}

std::vector<GridPoint> transposes(int64_t rows) {
  const int64_t n = rows * kCols;
  const auto bytes = static_cast<double>(n);
  const int count = sets(4 * bytes);
  const Turns<bf16> x(n, count), out(n, count);
  return {measured(point("transpose_bf16", "transpose", 4 * bytes), [&](int i, cudaStream_t s) {
    return transpose_bf16({rows, kCols, x[i], out[i]}, s);
  })};
}

// 64 of the 192 columns of each of 128 heads, as in DeepSeek-V3.
std::vector<GridPoint> rotations(int64_t rows) {
  constexpr int64_t kHeads = 128, kWidth = 192, kRotated = 64;
  const auto touched = static_cast<double>(rows * kHeads * kRotated);
  const int count = sets(2.0 * static_cast<double>(rows * kHeads * kWidth));
  const Turns<bf16> x(rows * kHeads * kWidth, count);
  const Buffer<float> table(rows * kRotated);
  RopeParams p;
  p.rows = rows, p.heads = kHeads, p.width = kWidth, p.column = kWidth - kRotated, p.n = kRotated;
  p.seq_len = rows, p.table = reinterpret_cast<const float2*>(table.get());
  return {measured(point("rope", "strided", 4 * touched), [&](int i, cudaStream_t s) {
    p.x = x[i];
    return rope(p, s);
  })};
}

std::vector<GridPoint> activations(int64_t rows) {
  constexpr int64_t kWidth = 2048;
  const int64_t many = 4 * rows, n = many * kWidth;
  const auto bytes = static_cast<double>(n);
  const int count = sets(12 * bytes);
  const Turns<bf16> gate_up(2 * n, count), act(n, count), dact(n, count), dgate_up(2 * n, count);
  const Turns<fp8> q(n, count);
  const Turns<float> scales(n / kTile, count);
  const Buffer<float> weight(many);
  SwiGluBackwardParams b;
  b.rows = many, b.w = kWidth, b.row_weight = weight.get();
  std::vector<GridPoint> points;
  points.push_back(measured(point("swiglu", "gated_map", 6 * bytes), [&](int i, cudaStream_t s) {
    return swiglu({many, kWidth, gate_up[i], act[i]}, s);
  }));
  points.push_back(
      measured(point("swiglu_backward", "gated_map", 12 * bytes), [&](int i, cudaStream_t s) {
        b.gate_up = gate_up[i], b.dact = dact[i], b.act_out = act[i], b.dgate_up = dgate_up[i];
        return swiglu_backward(b, s);
      }));
  points.push_back(
      measured(point("swiglu_cast", "cast", (5 + kScale) * bytes), [&](int i, cudaStream_t s) {
        return swiglu_cast({many, kWidth, gate_up[i], view(q[i], scales[i], many, kWidth)}, s);
      }));
  return points;
}

// Small ones beside the products of FP8, and the sum of a norm's weight gradients.
std::vector<GridPoint> scale_copies(int64_t rows) {
  constexpr int64_t kTiles = kCols / kTile;
  const int64_t n = rows * kTiles;
  const Buffer<float> from(n), to(n), partial(kNormBlocks * kCols), grad(kCols);
  std::vector<GridPoint> points;
  points.push_back(
      measured(own_point("transpose_scales", "stream", 8.0 * static_cast<double>(n)),
               [&](int, cudaStream_t s) {
                 return transpose_scales({rows, kTiles, from.get(), to.get(), rows}, s);
               }));
  const int64_t cols = std::min(kCols, std::max<int64_t>(rows / 4, 128) / 8 * 8);
  points.push_back(measured(own_point("rms_norm_reduce", "row_reduce",
                                      4.0 * static_cast<double>((kNormBlocks + 2) * cols)),
                            [&](int, cudaStream_t s) {
                              return rms_norm_reduce({cols, partial.get(), grad.get()}, s);
                            }));
  return points;
}

std::vector<GridPoint> fused_activations(int64_t rows) {
  constexpr int64_t kWidth = 4096;
  const int64_t n = rows * kWidth;
  const auto bytes = static_cast<double>(n);
  const int count = sets(6 * bytes);
  const Turns<bf16> gate_up(2 * n, count), act(n, count), dact(n, count);
  const Turns<fp8> q(n, count);
  const Turns<float> scales(n / kTile, count);
  const Buffer<float> weight(rows), out(rows);
  const Buffer<int32_t> slot(rows);
  std::vector<int32_t> slots(static_cast<std::size_t>(rows));
  std::iota(slots.begin(), slots.end(), 0);
  need(
      cudaMemcpy(slot.get(), slots.data(), slots.size() * sizeof(int32_t), cudaMemcpyHostToDevice));
  SwiGluWeightBackwardParams w;
  w.rows = rows, w.w = kWidth, w.row_weight = weight.get(), w.row_slot = slot.get();
  w.out = out.get();
  std::vector<GridPoint> points;
  points.push_back(
      measured(own_point("swiglu_cast_transpose", "cast_transpose", (5 + kScale) * bytes),
               [&](int i, cudaStream_t s) {
                 const Fp8View to = view(q[i], scales[i], kWidth, rows);
                 return swiglu_cast_transpose({rows, kWidth, gate_up[i], to}, s);
               }));
  points.push_back(measured(own_point("swiglu_weight_backward", "gated_map", 4 * bytes),
                            [&](int i, cudaStream_t s) {
                              w.act = act[i], w.dact = dact[i];
                              return swiglu_weight_backward(w, s);
                            }));
  return points;
}

// Keys of 128 and a rotated part of 64 that all heads share, as in DeepSeek-V3.
std::vector<GridPoint> concatenations(int64_t rows) {
  constexpr int64_t kHeads = 128, kKey = 128, kRotated = 64, kFrom = 256;
  const auto bytes = 2.0 * static_cast<double>(rows * kHeads * (kKey + kRotated));
  const int count = sets(2 * bytes);
  const Turns<bf16> a(rows * kHeads * kFrom, count), b(rows * kRotated, count, 2),
      out(rows * kHeads * (kKey + kRotated), count);
  ConcatHeadsParams p;
  p.rows = rows, p.heads = kHeads, p.a_width = kKey, p.b_width = kRotated;
  p.a_from = kFrom, p.b_from = kRotated, p.broadcast_b = true;
  return {measured(own_point("concat_heads", "strided", 2 * bytes), [&](int i, cudaStream_t s) {
    p.a = a[i], p.b = b[i], p.out = out[i];
    return concat_heads(p, s);
  })};
}

// Of random tokens of a vocabulary of 32768.
std::vector<GridPoint> embedding_gradients(int64_t rows) {
  constexpr int64_t kVocabulary = 32768, kWidth = 4096;
  const int64_t n = rows * kWidth;
  const int count = sets(2.0 * static_cast<double>(n));
  const Turns<bf16> dx(n, count);
  const Buffer<float> grad(kVocabulary * kWidth);
  const Buffer<int32_t> ids(rows);
  std::vector<int32_t> tokens(static_cast<std::size_t>(rows));
  uint32_t state = 1;
  for (int32_t& t : tokens)
    t = static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 17);  // 15 bits
  need(cudaMemcpy(ids.get(), tokens.data(), tokens.size() * sizeof(int32_t),
                  cudaMemcpyHostToDevice));
  EmbeddingBackwardParams p;
  p.rows = rows, p.cols = kWidth, p.vocab = kVocabulary, p.ids = ids.get(), p.grad = grad.get();
  return {measured(own_point("embedding_backward", "gather", 10.0 * static_cast<double>(n)),
                   [&](int i, cudaStream_t s) {
                     p.dx = dx[i];
                     return embedding_backward(p, s);
                   })};
}

std::vector<GridPoint> optimizer(int64_t parameters) {
  const Buffer<float> master(parameters), grads(parameters);
  const Buffer<uint8_t> decay(parameters / kTile);
  const Buffer<bf16> m(parameters), v(parameters), weights(parameters);
  need(cudaMemset(v.get(), 0, static_cast<std::size_t>(parameters) * sizeof(bf16)));
  AdamWParams p;
  p.n = parameters, p.master = master.get(), p.m = m.get(), p.v = v.get();
  p.moments = MomentType::kBf16, p.grads = grads.get(), p.weights_out = weights.get();
  p.decay = decay.get();
  p.lr = 1e-4;
  return {measured(point("adamw", "stream", 22.0 * static_cast<double>(parameters)),
                   [&](int, cudaStream_t s) { return adamw(p, s); })};
}

// Both buffers and what is read and written of them stay in L2.
std::vector<GridPoint> l2_copy(int64_t bytes) {
  const Buffer<uint8_t> from(bytes), to(bytes);
  GridPoint p;
  p.family = "l2_copy", p.kernel = "copy";
  p.numbers = {{"bytes", 2 * bytes}};
  return {measured(p, [&](int, cudaStream_t s) {
    const cudaError_t e = cudaMemcpyAsync(to.get(), from.get(), static_cast<std::size_t>(bytes),
                                          cudaMemcpyDeviceToDevice, s);
    return e == cudaSuccess ? Status{} : failed(cudaGetErrorString(e));
  })};
}

}  // namespace

std::vector<GridTask> memory_grid() {
  std::vector<GridTask> tasks;
  const auto add = [&](const char* name, auto measure, int64_t size) {
    tasks.push_back({name, [measure, size] { return measure(size); }});
  };
  for (const int64_t rows : kRows) {
    add("streams", streams, rows);
    add("norms", norms, rows);
    add("casts", casts, rows);
    add("packings", packings, rows);
    add("transposes", transposes, rows);
    add("rotations", rotations, rows);
    add("activations", activations, rows);
    add("scale copies", scale_copies, rows);
    add("fused activations", fused_activations, rows);
    add("concatenations", concatenations, rows);
    add("embedding gradients", embedding_gradients, rows);
  }
  for (const int64_t millions : {16, 64, 256, 1024}) add("optimizer", optimizer, millions << 20);
  for (const int64_t vocabulary : {50304, 129280})
    for (const int64_t tokens : {2048, 6144})
      tasks.push_back({"losses", [=] { return losses(vocabulary, tokens); }});
  for (const int64_t megabytes : {4, 8, 16}) add("l2_copy", l2_copy, megabytes << 20);
  return tasks;
}

}  // namespace orrery::kernels::bench
