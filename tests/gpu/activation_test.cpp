#include <algorithm>
#include <cstring>

#include "kernels/activation/swiglu.h"
#include "kernels/activation/swiglu_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;
using Bf16Buffer = DeviceBuffer<bf16>;

namespace {

struct Shape {
  int64_t rows, w;
};
// Multiples of the tile and not, one row, one column of vectors, nothing. Rows are multiples of 16
// for the transpose.
const Shape kShapes[] = {{16, 128},  {1, 256},    {48, 16}, {144, 2048},
                         {272, 208}, {128, 1424}, {16, 64}, {0, 128}};

std::size_t size(int64_t rows, int64_t cols) { return static_cast<std::size_t>(rows * cols); }

// Finds its way around a quantised [rows, cols] whose scales are laid out in one of two ways: as
// tiles of a row side by side, or tile-major with three unused floats after the rows of each tile.
struct Quantised {
  Quantised(int64_t rows, int64_t cols, bool tile_major)
      : data(size(rows, cols)), scales(size(rows + 3, tiles(cols) + 1)) {
    view = {data.get(),
            scales.get(),
            rows,
            cols,
            tile_major ? 1 : tiles(cols),
            tile_major ? rows + 3 : 1};
  }
  // want(r, c): what was quantised, before the division and the rounding.
  template <class Want>
  void check(Want want) const {
    const std::vector<fp8> stored = data.download();
    const std::vector<float> scale = scales.download();
    int64_t bad = 0, bad_scales = 0;
    for (int64_t r = 0; r < view.rows; ++r)
      for (int64_t t = 0; t < tiles(view.cols); ++t) {
        const int64_t begin = t * kTile, end = std::min(view.cols, begin + kTile);
        double amax = 0;
        for (int64_t c = begin; c < end; ++c) amax = std::max(amax, std::abs(want(r, c)));
        const double s =
            scale[static_cast<std::size_t>(r * view.row_stride + t * view.tile_stride)];
        const double want_scale = amax > 0 ? amax / 448 : 1;
        bad_scales += !(std::abs(s - want_scale) <= 1e-5 * want_scale);
        for (int64_t c = begin; c < end; ++c) {
          const double got =
              s * double{static_cast<float>(stored[size(r, view.cols) + size(c, 1)])};
          // Half a unit in the last place; below 2^-6, that of subnormals.
          const double allowed = 1.001 * std::max(std::abs(want(r, c)) / 16, s * 0x1p-10);
          bad += !(std::abs(got - want(r, c)) <= allowed);
        }
      }
    REQUIRE(bad == 0);
    REQUIRE(bad_scales == 0);
    data.check_canaries();
    scales.check_canaries();
  }
  // The scales that no tile has must be left alone.
  int64_t written_scales() const {
    const std::vector<float> before = DeviceBuffer<float>(1).download();
    int64_t written = 0;
    for (const float s : scales.download()) written += std::memcmp(&s, before.data(), 4) != 0;
    return written;
  }
  DeviceBuffer<fp8> data;
  DeviceBuffer<float> scales;
  Fp8View view;
};

void test_forward(const Shape& s) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", w " << s.w);
  std::vector<double> gate_up = random.normal_bf16(size(s.rows, 2 * s.w), 2);
  // A tile of zeros and a gate whose exponential overflows.
  if (s.rows > 0) std::fill_n(gate_up.begin(), std::min<int64_t>(s.w, kTile), 0);
  if (s.rows > 1) gate_up[size(1, 2 * s.w)] = -1000;
  std::vector<double> want(size(s.rows, s.w));
  swiglu_reference(s.rows, s.w, gate_up.data(), want.data());
  Bf16Buffer gate_up_d(to_bf16(gate_up)), out_d(want.size());
  const SwiGluParams p{.rows = s.rows, .w = s.w, .gate_up = gate_up_d.get(), .out = out_d.get()};
  launched(swiglu(p, nullptr));
  const std::vector<bf16> got = out_d.download();
  require_close(to_double(got), want, 1.01 * kBf16Eps, 1e-9);
  out_d.check_canaries();
  launched(swiglu(p, nullptr));
  REQUIRE(same_bits(out_d.download(), got));

  for (const bool tile_major : {false, true}) {
    INFO("tile_major " << tile_major);
    const Quantised cast(s.rows, s.w, tile_major), transpose(s.w, s.rows, tile_major);
    launched(swiglu_cast({.rows = s.rows, .w = s.w, .gate_up = gate_up_d.get(), .out = cast.view},
                         nullptr));
    const auto at = [&](int64_t r, int64_t c) { return want[size(r, s.w) + size(c, 1)]; };
    cast.check(at);
    REQUIRE(cast.written_scales() == s.rows * tiles(s.w));
    if (s.rows % 16 != 0) continue;
    const SwiGluCastTransposeParams t{
        .rows = s.rows, .w = s.w, .gate_up = gate_up_d.get(), .out = transpose.view};
    launched(swiglu_cast_transpose(t, nullptr));
    transpose.check([&](int64_t r, int64_t c) { return at(c, r); });
    REQUIRE(transpose.written_scales() == s.w * tiles(s.rows));
    const std::vector<fp8> data = transpose.data.download();
    launched(swiglu_cast_transpose(t, nullptr));
    REQUIRE(same_bits(transpose.data.download(), data));
  }
}

void test_backward(const Shape& s, bool weighted) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", w " << s.w << ", weighted " << weighted);
  const std::vector<double> gate_up = random.normal_bf16(size(s.rows, 2 * s.w), 2);
  const std::vector<double> dact = random.normal_bf16(size(s.rows, s.w));
  std::vector<double> weight = random.normal_bf16(size(s.rows, 1));
  if (!weight.empty()) weight[0] = 0;
  std::vector<double> want_act(dact.size()), want(gate_up.size());
  Bf16Buffer gate_up_d(to_bf16(gate_up)), dact_d(to_bf16(dact));
  Bf16Buffer act_d(dact.size()), dgate_up_d(gate_up.size());
  const DeviceBuffer<float> weight_d(std::vector<float>(weight.begin(), weight.end()));
  SwiGluBackwardParams p{.rows = s.rows,
                         .w = s.w,
                         .gate_up = gate_up_d.get(),
                         .dact = dact_d.get(),
                         .row_weight = weighted ? weight_d.get() : nullptr,
                         .act_out = weighted ? act_d.get() : nullptr,
                         .dgate_up = dgate_up_d.get()};
  launched(swiglu_backward(p, nullptr));
  const std::vector<bf16> got = dgate_up_d.download(), act = act_d.download();
  swiglu_backward_reference(s.rows, s.w, gate_up.data(), dact.data(),
                            weighted ? weight.data() : nullptr, want_act.data(), want.data());
  // Absolute: 1 + gate · (1 - sigmoid) cancels where silu is at its minimum.
  require_close(to_double(got), want, 1.01 * kBf16Eps, 2e-5);
  if (weighted) require_close(to_double(act), want_act, 1.01 * kBf16Eps, 1e-9);
  act_d.check_canaries();
  dgate_up_d.check_canaries();
  p.dgate_up = gate_up_d.get();
  launched(swiglu_backward(p, nullptr));
  REQUIRE(same_bits(gate_up_d.download(), got));
}

void test_weight_backward(const Shape& s) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", w " << s.w);
  const std::vector<double> act = random.normal_bf16(size(s.rows, s.w));
  const std::vector<double> dact = random.normal_bf16(size(s.rows, s.w));
  const std::vector<double> spread = random.normal_bf16(size(s.rows, 1), 0.2);
  // Every third row is padding, every fifth has weight 0; slots are a shuffle with gaps.
  std::vector<float> weight;
  std::vector<int32_t> slot(static_cast<std::size_t>(s.rows));
  for (std::size_t r = 0; r < slot.size(); ++r) {
    weight.push_back(r % 5 == 4 ? 0.0f : 0.25f + std::abs(static_cast<float>(spread[r])));
    slot[r] = static_cast<int32_t>(2 * r);
  }
  std::shuffle(slot.begin(), slot.end(), random.engine);
  for (std::size_t r = 2; r < slot.size(); r += 3) slot[r] = -1;
  std::vector<double> want(size(s.rows, 2), 7);
  const std::vector<double> exact_weight = to_double(weight);
  swiglu_weight_backward_reference(s.rows, s.w, act.data(), dact.data(), exact_weight.data(),
                                   slot.data(), want.data());
  const Bf16Buffer act_d(to_bf16(act)), dact_d(to_bf16(dact));
  const DeviceBuffer<float> weight_d(weight), out_d(std::vector<float>(want.size(), 7));
  const DeviceBuffer<int32_t> slot_d(slot);
  const SwiGluWeightBackwardParams p{.rows = s.rows,
                                     .w = s.w,
                                     .act = act_d.get(),
                                     .dact = dact_d.get(),
                                     .row_weight = weight_d.get(),
                                     .row_slot = slot_d.get(),
                                     .out = out_d.get()};
  launched(swiglu_weight_backward(p, nullptr));
  const std::vector<float> got = out_d.download();
  require_close(to_double(got), want, 1e-5, 1e-3);
  out_d.check_canaries();
  launched(swiglu_weight_backward(p, nullptr));
  REQUIRE(same_bits(out_d.download(), got));
}

}  // namespace

TEST_CASE("swiglu and its casts", "[gpu][activation]") {
  for (const Shape& s : kShapes) test_forward(s);
}

TEST_CASE("swiglu_backward", "[gpu][activation]") {
  for (const Shape& s : kShapes)
    for (const bool weighted : {false, true}) test_backward(s, weighted);
}

TEST_CASE("swiglu_weight_backward", "[gpu][activation]") {
  for (const Shape& s : kShapes) test_weight_backward(s);
}

TEST_CASE("swiglu kernels name bad arguments", "[gpu][activation]") {
  alignas(16) bf16 v[32];
  alignas(16) fp8 data[256];
  float scales[16];
  CHECK(swiglu({.rows = 1, .w = 12, .gate_up = v, .out = v}, nullptr).error ==
        "swiglu: w is not a multiple of 8");
  CHECK(swiglu({.rows = 1, .w = 8, .gate_up = v, .out = v + 1}, nullptr).error ==
        "swiglu: gate_up or out is not 16-byte aligned");
  CHECK(swiglu_cast({.rows = 1, .w = 8, .gate_up = v, .out = {data, scales, 1, 8, 1, 1}}, nullptr)
            .error == "swiglu_cast: w is not a multiple of 16");
  CHECK(swiglu_cast({.rows = 1, .w = 16, .gate_up = v, .out = {data, scales, 16, 1, 1, 1}}, nullptr)
            .error == "swiglu_cast: out has another shape");
  CHECK(swiglu_cast_transpose(
            {.rows = 8, .w = 16, .gate_up = v, .out = {data, scales, 16, 8, 1, 1}}, nullptr)
            .error == "swiglu_cast_transpose: rows is not a multiple of 16");
  CHECK(swiglu_backward({.rows = 1, .w = 8, .gate_up = v, .dact = v}, nullptr).error ==
        "swiglu_backward: gate_up, dact or dgate_up is null");
  CHECK(swiglu_weight_backward({.rows = 1, .w = 8, .act = v, .dact = v, .row_weight = scales},
                               nullptr)
            .error == "swiglu_weight_backward: row_weight, row_slot or out is null");
}
