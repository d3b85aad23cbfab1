#include "runtime/model/hf_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "sim/base/error.h"

namespace orrery {
namespace {

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);  // stays a NaN when cut
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign == 0 ? magnitude : -magnitude;
  }
  const uint32_t wide = exponent == 0x1f ? 0xff : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

// Visits (element of the matrix, element of ours) in tiles, so that both sides of a transposition
// stay in the cache.
template <class F>
void for_each_pair(const HfMatrix& m, int64_t ld, F&& f) {
  constexpr int64_t kTile = 64;
  const int64_t rows = m.rows(), cols = m.cols();
  const int64_t row_step = m.transposed ? 1 : ld, col_step = m.transposed ? ld : 1;
  const int64_t origin = m.row * ld + m.col;
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c0 = 0; c0 < cols; c0 += kTile)
      for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (int64_t c = c0; c < std::min(cols, c0 + kTile); ++c)
          f(r * cols + c, origin + r * row_step + c * col_step);
}

template <class Stored, class Decode>
void read_as(const HfMatrix& m, const std::byte* data, float* ours, int64_t ld, Decode decode) {
  for_each_pair(m, ld, [&](int64_t theirs, int64_t at) {
    Stored x;  // the data of a file may be unaligned
    std::memcpy(&x, data + theirs * static_cast<int64_t>(sizeof x), sizeof x);
    ours[at] = decode(x);
  });
}

template <class Stored, class Encode>
void write_as(const HfMatrix& m, std::byte* data, const float* ours, int64_t ld, Encode encode) {
  for_each_pair(m, ld, [&](int64_t theirs, int64_t at) {
    const Stored x = encode(ours[at]);
    std::memcpy(data + theirs * static_cast<int64_t>(sizeof x), &x, sizeof x);
  });
}

[[noreturn]] void wrong_dtype(const HfMatrix& m, SafetensorsDtype dtype) {
  throw Error(ExitCode::kInternal, m.name + ": no conversion of " + dtype_name(dtype));
}

}  // namespace

bool hf_readable(SafetensorsDtype dtype) {
  return dtype == SafetensorsDtype::kBF16 || dtype == SafetensorsDtype::kF16 ||
         dtype == SafetensorsDtype::kF32;
}

void read_hf_matrix(const HfMatrix& m, const Safetensor& tensor, float* ours, int64_t ld) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(tensor.dtype));
  const std::byte* data = tensor.data.data() + m.index * m.rows() * m.cols() * bytes;
  switch (tensor.dtype) {
    case SafetensorsDtype::kBF16:
      return read_as<uint16_t>(m, data, ours, ld, from_bf16);
    case SafetensorsDtype::kF16:
      return read_as<uint16_t>(m, data, ours, ld, from_f16);
    case SafetensorsDtype::kF32:
      return read_as<float>(m, data, ours, ld, [](float x) { return x; });
    default:
      wrong_dtype(m, tensor.dtype);
  }
}

std::vector<std::byte> write_hf_matrix(const HfMatrix& m, SafetensorsDtype dtype, const float* ours,
                                       int64_t ld) {
  std::vector<std::byte> data(static_cast<std::size_t>(m.rows() * m.cols()) * dtype_bytes(dtype));
  if (dtype == SafetensorsDtype::kBF16)
    write_as<uint16_t>(m, data.data(), ours, ld, to_bf16);
  else if (dtype == SafetensorsDtype::kF32)
    write_as<float>(m, data.data(), ours, ld, [](float x) { return x; });
  else
    wrong_dtype(m, dtype);
  return data;
}

}  // namespace orrery
