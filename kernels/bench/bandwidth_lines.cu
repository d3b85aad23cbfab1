#include <numeric>

#include "kernels/activation/swiglu.h"
#include "kernels/bench/bench.h"
#include "kernels/bench/measure.cuh"
#include "kernels/loss/cross_entropy.h"
#include "kernels/loss/cross_entropy_parts.h"
#include "kernels/moe/permute.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/optimizer/adamw.h"
#include "kernels/quant/cast.h"

namespace orrery::kernels::bench {
namespace {

constexpr int64_t kRows = 32768, kCols = 7168, kCount = kRows * kCols;
constexpr double kN = static_cast<double>(kCount);

std::string text(int64_t rows, int64_t cols) {
  // Appended, not prepended: GCC 12 takes the latter for an overlapping copy.
  std::string t = "[";
  t.append(std::to_string(rows)).append(", ").append(std::to_string(cols)).append("]");
  return t;
}

class Lines {
 public:
  template <class Launch>
  void add(const char* kernel, const std::string& shape, double bytes, Launch launch) {
    Line l;
    l.kernel = kernel, l.shape = shape, l.bytes = bytes;
    l.us = 1e6 * seconds([&](int) { return launch(); });
    all.push_back(l);
  }
  std::vector<Line> all;
};

// Scales of tiles, a float for every 128 elements.
constexpr double kScale = 4.0 / kTile;

void casts(Lines& lines) {
  const Buffer<bf16> x(kCount), y(kCount);
  const Buffer<fp8> q(kCount), t(kCount);
  const Buffer<float> q_scales(kCount / kTile), t_scales(kCount / kTile);
  const Fp8View rows{q.get(), q_scales.get(), kRows, kCols, 1, kRows};
  const Fp8View transpose{t.get(), t_scales.get(), kCols, kRows, 1, kCols};
  const Fp8Block block{q.get(), q_scales.get(), kRows, kCols};
  const Fp8Block block_t{t.get(), t_scales.get(), kCols, kRows};
  CastTransposeParams from_bf16, from_fp8;
  from_bf16.rows = from_fp8.rows = kRows, from_bf16.cols = from_fp8.cols = kCols;
  from_bf16.out = from_fp8.out = transpose;
  from_bf16.x = x.get(), from_fp8.x8 = rows;
  const std::string shape = text(kRows, kCols);
  lines.add("cast_rows", shape, (3 + kScale) * kN, [&] {
    return cast_rows({kRows, kCols, x.get(), rows}, nullptr);
  });
  lines.add("cast_back", shape, (3 + kScale) * kN, [&] {
    return cast_back({rows, y.get()}, nullptr);
  });
  lines.add("cast_transpose of BF16", shape, (3 + kScale) * kN,
            [&] { return cast_transpose(from_bf16, nullptr); });
  lines.add("cast_transpose of FP8", shape, (2 + 2 * kScale) * kN,
            [&] { return cast_transpose(from_fp8, nullptr); });
  lines.add("cast_block", shape, 3 * kN, [&] {
    return cast_block({1, kRows, kCols, x.get(), block}, nullptr);
  });
  lines.add("transpose_block", shape, 2 * kN, [&] {
    return transpose_block({1, kRows, kCols, block, block_t}, nullptr);
  });
  lines.add("transpose_bf16", shape, 4 * kN, [&] {
    return transpose_bf16({kRows, kCols, x.get(), y.get()}, nullptr);
  });
}

void norms(Lines& lines) {
  const Buffer<bf16> x(kCount), addend(kCount), out(kCount), sum(kCount), weight(kCols);
  const Buffer<float> partial(kNormBlocks * kCols);
  const std::string shape = text(kRows, kCols);
  RmsNormParams p;
  p.rows = kRows, p.cols = kCols, p.x = x.get(), p.weight = weight.get(), p.eps = 1e-6F;
  p.out = out.get();
  lines.add("rms_norm", shape, 4 * kN, [&] { return rms_norm(p, nullptr); });
  p.addend[0] = addend.get(), p.sum = sum.get();
  lines.add("rms_norm of a sum", shape, 8 * kN, [&] { return rms_norm(p, nullptr); });
  RmsNormBackwardParams b;
  b.rows = kRows, b.cols = kCols, b.dy = out.get(), b.ld_dy = kCols, b.x = x.get();
  b.weight = weight.get(), b.eps = 1e-6F, b.dx = sum.get(), b.partial = partial.get();
  lines.add("rms_norm_backward", shape, 6 * kN, [&] { return rms_norm_backward(b, nullptr); });
}

void activations(Lines& lines) {
  constexpr int64_t kWidth = 2048, kMany = 98304, kAll = kMany * kWidth;
  constexpr double kA = static_cast<double>(kAll);
  const Buffer<bf16> gate_up(2 * kAll), out(kAll), dact(kAll), dgate_up(2 * kAll);
  const Buffer<float> weight(kMany), scales(kAll / kTile);
  const Buffer<fp8> q(kAll);
  const std::string shape = text(kMany, kWidth);
  lines.add("swiglu", shape, 6 * kA, [&] {
    return swiglu({kMany, kWidth, gate_up.get(), out.get()}, nullptr);
  });
  lines.add("swiglu_cast", shape, (5 + kScale) * kA, [&] {
    return swiglu_cast(
        {kMany, kWidth, gate_up.get(), {q.get(), scales.get(), kMany, kWidth, 1, kMany}}, nullptr);
  });
  SwiGluBackwardParams b;
  b.rows = kMany, b.w = kWidth, b.gate_up = gate_up.get(), b.dact = dact.get();
  b.row_weight = weight.get(), b.act_out = out.get(), b.dgate_up = dgate_up.get();
  lines.add("swiglu_backward", shape, 12 * kA, [&] { return swiglu_backward(b, nullptr); });
}

void moe(Lines& lines) {
  constexpr int64_t kTokens = 8192, kTopK = 8, kSlots = kTokens * kTopK;
  const Buffer<bf16> x(kTokens * kCols), y(kSlots * kCols), out(kTokens * kCols);
  const Buffer<float> weights(kSlots);
  const Buffer<int32_t> row_slot(kSlots), slot_row(kSlots);
  // Every slot's row; rows of a token lie apart as those of different experts do.
  std::vector<int32_t> slots(kSlots), rows(kSlots);
  for (int64_t r = 0; r < kSlots; ++r) {
    const int64_t slot = r % kTokens * kTopK + r / kTokens;
    slots[static_cast<std::size_t>(r)] = static_cast<int32_t>(slot);
    rows[static_cast<std::size_t>(slot)] = static_cast<int32_t>(r);
  }
  constexpr std::size_t kIndexBytes = kSlots * sizeof(int32_t);
  need(cudaMemcpy(row_slot.get(), slots.data(), kIndexBytes, cudaMemcpyHostToDevice));
  need(cudaMemcpy(slot_row.get(), rows.data(), kIndexBytes, cudaMemcpyHostToDevice));
  PermuteParams p;
  p.capacity = kSlots, p.cols = kCols, p.k = kTopK, p.row_slot = row_slot.get();
  p.slot_row = slot_row.get(), p.arrived = kTokens;
  p.x = x.get(), p.out = y.get();
  constexpr double kX = 2.0 * kTokens * kCols, kY = 2.0 * kSlots * kCols;
  lines.add("permute", text(kSlots, kCols), kX + kY, [&] { return permute(p, nullptr); });
  UnpermuteParams u;
  u.arrived = kTokens, u.cols = kCols, u.k = kTopK, u.slot_row = slot_row.get();
  u.weights = weights.get(), u.y = y.get(), u.out = out.get();
  lines.add("unpermute", text(kSlots, kCols), kX + kY, [&] { return unpermute(u, nullptr); });
}

void loss(Lines& lines) {
  constexpr int64_t kTokens = 8192, kVocab = 129280;
  const Buffer<bf16> logits(kTokens * kVocab);
  const Buffer<int32_t> labels(kTokens);
  std::vector<int32_t> ids(kTokens);
  std::iota(ids.begin(), ids.end(), 0);
  need(cudaMemcpy(labels.get(), ids.data(), ids.size() * sizeof(int32_t), cudaMemcpyHostToDevice));
  const Buffer<float> row_loss(kTokens), sum(1);
  CrossEntropyParams p;
  p.rows = kTokens, p.vocab = kVocab, p.logits = logits.get(), p.labels = labels.get();
  p.row_loss = row_loss.get(), p.loss_sum = sum.get();
  lines.add("cross_entropy", text(kTokens, kVocab), 4.0 * kTokens * kVocab,
            [&] { return cross_entropy(p, nullptr); });
  // A rank's half of the vocabulary.
  constexpr int64_t kHalf = kVocab / 2;
  const Buffer<float> parts(2 * kTokens * 3);
  CrossEntropyPartParams part;
  part.rows = kTokens, part.vocab = kHalf, part.logits = logits.get(), part.labels = labels.get();
  part.parts = parts.get();
  lines.add("cross_entropy_part", text(kTokens, kHalf), 2.0 * kTokens * kHalf,
            [&] { return cross_entropy_part(part, nullptr); });
  CrossEntropyMergeParams merge;
  merge.rows = kTokens, merge.vocab = kHalf, merge.ranks = 2, merge.logits = logits.get();
  merge.labels = labels.get(), merge.parts = parts.get(), merge.row_loss = row_loss.get();
  merge.loss_sum = sum.get();
  lines.add("cross_entropy_merge", text(kTokens, kHalf), 4.0 * kTokens * kHalf,
            [&] { return cross_entropy_merge(merge, nullptr); });
}

void optimizer(Lines& lines) {
  constexpr int64_t kParameters = int64_t{1} << 28;
  const Buffer<float> master(kParameters), grads(kParameters), workspace(kSumSquaresWorkspace);
  const Buffer<float> norm(1);
  const Buffer<uint8_t> decay(kParameters / kTile);
  const Buffer<bf16> m(kParameters), v(kParameters), weights(kParameters);
  need(cudaMemset(v.get(), 0, kParameters * sizeof(bf16)));
  AdamWParams p;
  p.n = kParameters, p.master = master.get(), p.m = m.get(), p.v = v.get();
  p.moments = MomentType::kBf16, p.grads = grads.get(), p.weights_out = weights.get();
  p.decay = decay.get();
  p.lr = 1e-4;
  const std::string shape = std::to_string(kParameters) + " parameters";
  // Read: master, gradient, moments; written: master, moments, weights.
  lines.add("adamw", shape, 22.0 * kParameters, [&] { return adamw(p, nullptr); });
  constexpr int64_t kBlocked = kParameters / kCols / kTile * kTile;  // rows
  const Buffer<fp8> q(kBlocked * kCols);
  const Buffer<float> scales(tiles(kBlocked) * tiles(kCols));
  lines.add("adamw_cast", text(kBlocked, kCols), 21.0 * kBlocked * kCols, [&] {
    return adamw_cast({p, 1, kBlocked, kCols, {q.get(), scales.get(), kBlocked, kCols}}, nullptr);
  });
  SumSquaresParams s;
  s.n = kParameters, s.x = grads.get(), s.workspace = workspace.get(), s.out = norm.get();
  lines.add("sum_squares", shape, 4.0 * kParameters, [&] { return sum_squares(s, nullptr); });
}

}  // namespace

std::vector<Line> bench_bandwidth() {
  Lines lines;
  casts(lines);
  norms(lines);
  activations(lines);
  moe(lines);
  loss(lines);
  optimizer(lines);
  return lines.all;
}

}  // namespace orrery::kernels::bench
