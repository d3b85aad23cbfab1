#include <limits>

#include "kernels/quant/cast.h"
#include "kernels/quant/fake_quant_reference.h"
#include "tests/gpu/quant_check.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

// The 12-bit codes of E5M6 rows, decoded by the definition.
std::vector<double> decode_e5m6(const std::vector<uint8_t>& packed) {
  std::vector<double> v;
  for (std::size_t i = 0; i + 2 < packed.size(); i += 3) {
    const int bits = packed[i] | packed[i + 1] << 8 | packed[i + 2] << 16;
    for (const int code : {bits & 0xfff, bits >> 12}) {
      const int exponent = code >> 6 & 31, mantissa = code & 63;
      const double magnitude = exponent == 31  ? std::numeric_limits<double>::quiet_NaN()
                               : exponent == 0 ? std::ldexp(mantissa, -20)
                                               : std::ldexp(64 + mantissa, exponent - 21);
      v.push_back(code >> 11 != 0 ? -magnitude : magnitude);
    }
  }
  return v;
}

}  // namespace

TEST_CASE("cast_e5m6 packs two values in three bytes", "[gpu][quant]") {
  Random random;
  for (const auto& [rows, cols] : {Shape{1, 128}, Shape{3, 8}, Shape{130, 200}, Shape{0, 64}}) {
    INFO("seed " << random.seed << ", rows " << rows << ", cols " << cols);
    std::vector<double> x = uneven(random, rows, cols);
    // Small beside the first of their tile: subnormals.
    for (std::size_t i = 1; i < x.size(); i += 5) x[i] = std::ldexp(x[i], -14);
    x = to_double(to_bf16(x));
    DeviceBuffer<bf16> dx(to_bf16(x)), back(x.size());
    DeviceBuffer<uint8_t> packed(size(rows, e5m6_row_bytes(cols)));
    DeviceBuffer<float> scales(size(rows, tiles(cols)));
    launched(cast_e5m6({rows, cols, dx.get(), packed.get(), scales.get()}, nullptr));
    std::vector<double> actual = decode_e5m6(packed.download()), expected(x.size());
    const std::vector<float> scale = scales.download();
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        actual[size(r, cols) + size(c, 1)] *=
            static_cast<double>(scale[size(r, tiles(cols)) + size(c / kTile, 1)]);
    fake_quant_e5m6_reference(rows, cols, x.data(), expected.data());
    require_equal(actual, expected);
    packed.check_canaries();
    scales.check_canaries();

    launched(cast_back_e5m6({rows, cols, packed.get(), scales.get(), back.get()}, nullptr));
    require_close(to_double(back.download()), expected, 1.01 * kBf16Eps, 1e-30);
    back.check_canaries();
  }
}

TEST_CASE("cast_e5m6 keeps NaN and names a wrong argument", "[gpu][quant]") {
  std::vector<double> x(128, 1.0);
  x[5] = NAN;
  DeviceBuffer<bf16> dx(to_bf16(x)), back(x.size());
  DeviceBuffer<uint8_t> packed(size(1, e5m6_row_bytes(128)));
  DeviceBuffer<float> scale(1);
  launched(cast_e5m6({1, 128, dx.get(), packed.get(), scale.get()}, nullptr));
  launched(cast_back_e5m6({1, 128, packed.get(), scale.get(), back.get()}, nullptr));
  const std::vector<double> values = to_double(back.download());
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(std::isnan(values[i]) == (i == 5));

  CHECK(cast_e5m6({1, 128, dx.get(), nullptr, scale.get()}, nullptr).error ==
        "cast_e5m6: packed is null");
  CHECK(cast_back_e5m6({1, 12, packed.get(), scale.get(), back.get()}, nullptr).error ==
        "cast_back_e5m6: cols is 12, expected a multiple of 8");
}
