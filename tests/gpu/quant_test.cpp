#include "kernels/quant/cast.h"
#include "kernels/quant/fake_quant_reference.h"
#include "tests/gpu/quant_check.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

const Shape kShapes[] = {{1, 128}, {3, 16}, {48, 144}, {257, 400}, {130, 1536}, {0, 128}, {5, 0}};
// With rows that can be the columns of a transpose.
const Shape kTransposable[] = {{16, 16}, {128, 128}, {144, 272}, {400, 48}, {1040, 144}, {0, 128}};

// A quantised [rows, cols] on the device, whose scales lie tile by tile or row by row with a gap.
struct QuantisedRows {
  DeviceBuffer<fp8> data;
  DeviceBuffer<float> scales;
  Fp8View view;

  QuantisedRows(int64_t rows, int64_t cols, bool tile_major)
      : data(size(rows, cols)), scales(size(rows, tiles(cols) + 1)) {
    view = {data.get(),           scales.get(), rows, cols, tile_major ? 1 : tiles(cols) + 1,
            tile_major ? rows : 1};
  }
  std::vector<double> values() const {
    const std::vector<fp8> stored = data.download();
    const std::vector<float> scale = scales.download();
    data.check_canaries();
    scales.check_canaries();
    std::vector<double> v;
    for (int64_t r = 0; r < view.rows; ++r)
      for (int64_t c = 0; c < view.cols; ++c)
        v.push_back(
            static_cast<double>(static_cast<float>(stored[size(r, view.cols) + size(c, 1)])) *
            static_cast<double>(scale[static_cast<std::size_t>(r * view.row_stride +
                                                               c / kTile * view.tile_stride)]));
    return v;
  }
};

struct QuantisedBlocks {
  int64_t batch;
  DeviceBuffer<fp8> data;
  DeviceBuffer<float> scales;
  Fp8Block view;

  QuantisedBlocks(int64_t matrices, int64_t rows, int64_t cols)
      : batch(matrices),
        data(size(batch * rows, cols)),
        scales(size(batch, tiles(rows) * tiles(cols))) {
    view = {data.get(), scales.get(), rows, cols};
  }
  std::vector<double> values() const {
    const std::vector<fp8> stored = data.download();
    const std::vector<float> scale = scales.download();
    data.check_canaries();
    scales.check_canaries();
    std::vector<double> v;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t r = 0; r < view.rows; ++r)
        for (int64_t c = 0; c < view.cols; ++c)
          v.push_back(static_cast<double>(static_cast<float>(stored[v.size()])) *
                      static_cast<double>(scale[static_cast<std::size_t>(
                          (b * tiles(view.rows) + r / kTile) * tiles(view.cols) + c / kTile)]));
    return v;
  }
};

std::vector<double> transposed(const std::vector<double>& x, int64_t rows, int64_t cols) {
  std::vector<double> t(x.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      t[size(c, rows) + size(r, 1)] = x[size(r, cols) + size(c, 1)];
  return t;
}

}  // namespace

TEST_CASE("cast_rows and cast_back quantise rows and dequantise them", "[gpu][quant]") {
  Random random;
  for (const auto& [rows, cols] : kShapes)
    for (const bool tile_major : {false, true}) {
      INFO("seed " << random.seed << ", rows " << rows << ", cols " << cols << ", tile-major "
                   << tile_major);
      const std::vector<double> x = uneven(random, rows, cols);
      DeviceBuffer<bf16> dx(to_bf16(x)), back(x.size());
      QuantisedRows out(rows, cols, tile_major);
      launched(cast_rows({rows, cols, dx.get(), out.view}, nullptr));
      std::vector<double> expected(x.size());
      fake_quant_rows_reference(rows, cols, x.data(), expected.data());
      require_equal(out.values(), expected);

      launched(cast_back({out.view, back.get()}, nullptr));
      require_close(to_double(back.download()), expected, 1.01 * kBf16Eps, 1e-30);
      back.check_canaries();
    }
}

TEST_CASE("cast_transpose quantises the transpose", "[gpu][quant]") {
  Random random;
  for (const auto& [rows, cols] : kTransposable)
    for (const bool gathered : {false, true})
      for (const bool tile_major : {false, true}) {
        INFO("seed " << random.seed << ", rows " << rows << ", cols " << cols << ", gathered "
                     << gathered << ", tile-major " << tile_major);
        const int64_t source_rows = gathered ? rows / 2 + 3 : rows;
        const std::vector<double> x = uneven(random, source_rows, cols);
        std::vector<int32_t> gather;
        for (int64_t r = 0; r < rows; ++r)
          gather.push_back(static_cast<int32_t>(random.integer(-1, source_rows - 1)));
        const auto rows_of = [&](const std::vector<double>& source) {
          std::vector<double> v;
          for (int64_t r = 0; r < rows; ++r) {
            const int64_t from = gathered ? gather[size(r, 1)] : r;
            for (int64_t c = 0; c < cols; ++c)
              v.push_back(from < 0 ? 0 : source[size(from, cols) + size(c, 1)]);
          }
          return v;
        };
        DeviceBuffer<bf16> dx(to_bf16(x));
        DeviceBuffer<int32_t> d_gather(gather);
        QuantisedRows out(cols, rows, tile_major);
        CastTransposeParams p;
        p.rows = rows, p.cols = cols, p.x = dx.get(), p.out = out.view;
        if (gathered) p.gather = d_gather.get();
        launched(cast_transpose(p, nullptr));
        std::vector<double> expected(size(rows, cols));
        fake_quant_transposed_reference(rows, cols, rows_of(x).data(), expected.data());
        require_equal(out.values(), expected);

        // From rows that are quantised already, whose dequantised values are floats.
        QuantisedRows x8(source_rows, cols, tile_major);
        launched(cast_rows({source_rows, cols, dx.get(), x8.view}, nullptr));
        p.x = nullptr, p.x8 = x8.view;
        launched(cast_transpose(p, nullptr));
        std::vector<double> dequantised = x8.values();
        for (double& v : dequantised) v = static_cast<double>(static_cast<float>(v));
        fake_quant_transposed_reference(rows, cols, rows_of(dequantised).data(), expected.data());
        require_equal(out.values(), expected);
      }
}

TEST_CASE("cast_block and transpose_block quantise weights both ways", "[gpu][quant]") {
  Random random;
  for (const auto& [rows, cols] : kTransposable)
    for (const int64_t batch : {1, 3}) {
      INFO("seed " << random.seed << ", batch " << batch << ", rows " << rows << ", cols " << cols);
      const std::vector<double> x = uneven(random, batch * rows, cols);
      DeviceBuffer<bf16> dx(to_bf16(x));
      QuantisedBlocks out(batch, rows, cols), transpose(batch, cols, rows);
      launched(cast_block({batch, rows, cols, dx.get(), out.view}, nullptr));
      std::vector<double> expected(x.size()), expected_transpose;
      for (int64_t b = 0; b < batch; ++b)
        fake_quant_block_reference(rows, cols, x.data() + b * rows * cols,
                                   expected.data() + b * rows * cols);
      require_equal(out.values(), expected);

      launched(transpose_block({batch, rows, cols, out.view, transpose.view}, nullptr));
      for (int64_t b = 0; b < batch; ++b) {
        const auto first = expected.begin() + b * rows * cols;
        const std::vector<double> t = transposed({first, first + rows * cols}, rows, cols);
        expected_transpose.insert(expected_transpose.end(), t.begin(), t.end());
      }
      require_equal(transpose.values(), expected_transpose);
    }
}

TEST_CASE("transpose_bf16 and transpose_scales move every element", "[gpu][quant]") {
  Random random;
  for (const auto& [rows, cols] : {Shape{8, 8}, Shape{64, 64}, Shape{72, 200}, Shape{264, 16}}) {
    const std::vector<double> x = random.normal_bf16(size(rows, cols));
    DeviceBuffer<bf16> in(to_bf16(x)), out(x.size());
    launched(transpose_bf16({rows, cols, in.get(), out.get()}, nullptr));
    require_equal(to_double(out.download()), transposed(x, rows, cols));
    out.check_canaries();
  }
  for (const auto& [rows, cols] : {Shape{1, 1}, Shape{33, 56}, Shape{300, 7}}) {
    const int64_t ld = rows + 5;
    const std::vector<double> x = random.normal_bf16(size(rows, cols));
    DeviceBuffer<float> in(std::vector<float>(x.begin(), x.end()));
    DeviceBuffer<float> out(std::vector<float>(size(cols, ld), 7.0F));
    launched(transpose_scales({rows, cols, in.get(), out.get(), ld}, nullptr));
    std::vector<double> expected(size(cols, ld), 7.0);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        expected[size(c, ld) + size(r, 1)] = x[size(r, cols) + size(c, 1)];
    require_equal(to_double(out.download()), expected);
    out.check_canaries();
  }
}

TEST_CASE("cast_rows keeps NaN", "[gpu][quant]") {
  std::vector<double> x(128, 1.0);
  x[5] = NAN;
  DeviceBuffer<bf16> dx(to_bf16(x)), back(x.size());
  QuantisedRows out(1, 128, true);
  launched(cast_rows({1, 128, dx.get(), out.view}, nullptr));
  launched(cast_back({out.view, back.get()}, nullptr));
  const std::vector<double> values = to_double(back.download());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::isnan(values[i]) == (i == 5));
}

TEST_CASE("quantisation gives the same bits twice", "[gpu][quant]") {
  Random random;
  constexpr int64_t kRows = 272, kCols = 400;
  DeviceBuffer<bf16> x(to_bf16(uneven(random, kRows, kCols)));
  QuantisedRows first(kCols, kRows, true), second(kCols, kRows, true);
  CastTransposeParams p;
  p.rows = kRows, p.cols = kCols, p.x = x.get(), p.out = first.view;
  launched(cast_transpose(p, nullptr));
  p.out = second.view;
  launched(cast_transpose(p, nullptr));
  REQUIRE(same_bits(first.scales.download(), second.scales.download()));
  REQUIRE(first.values() == second.values());
}

TEST_CASE("quantisation names the argument that is wrong", "[gpu][quant]") {
  DeviceBuffer<bf16> x(4096), y(4096);
  QuantisedRows q(16, 128, true), t(128, 16, true);
  QuantisedBlocks b(1, 16, 128);
  CHECK(cast_rows({16, 120, x.get(), q.view}, nullptr).error ==
        "cast_rows: cols is 120, expected a multiple of 16");
  CHECK(cast_rows({16, 112, x.get(), q.view}, nullptr).error ==
        "cast_rows: out.cols is 128, expected 112");
  CHECK(cast_rows({16, 128, x.get() + 4, q.view}, nullptr).error ==
        "cast_rows: x is not 16-byte aligned");
  CHECK(cast_back({q.view, nullptr}, nullptr).error == "cast_back: out is null");
  CastTransposeParams p;
  p.rows = 16, p.cols = 128, p.out = t.view;
  CHECK(cast_transpose(p, nullptr).error == "cast_transpose: x is null");
  p.x = x.get(), p.x8 = q.view;
  CHECK(cast_transpose(p, nullptr).error ==
        "cast_transpose: both x and x8.data are given, expected one");
  p.x8 = {}, p.rows = 24;
  CHECK(cast_transpose(p, nullptr).error ==
        "cast_transpose: rows is 24, expected a multiple of 16");
  CHECK(cast_block({-1, 16, 128, x.get(), b.view}, nullptr).error ==
        "cast_block: batch is -1, expected at least 0");
  CHECK(transpose_block({1, 16, 128, b.view, b.view}, nullptr).error ==
        "transpose_block: out.rows is 16, expected 128");
  CHECK(transpose_bf16({8, 12, x.get(), y.get()}, nullptr).error ==
        "transpose_bf16: cols is 12, expected a multiple of 8");
  CHECK(transpose_bf16({8, 8, x.get(), x.get()}, nullptr).error == "transpose_bf16: out is in");
  CHECK(transpose_scales({4, 2, q.view.scales, t.view.scales, 3}, nullptr).error ==
        "transpose_scales: ld is 3, expected at least 4");
}
