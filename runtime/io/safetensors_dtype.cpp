// Element types and sizes.
#include <algorithm>
#include <array>

#include "runtime/io/safetensors.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

struct Dtype {
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<Dtype, 16> kDtypes = {{{"BOOL", 1},
                                            {"U8", 1},
                                            {"I8", 1},
                                            {"F8_E5M2", 1},
                                            {"F8_E4M3", 1},
                                            {"F8_E8M0", 1},
                                            {"I16", 2},
                                            {"U16", 2},
                                            {"F16", 2},
                                            {"BF16", 2},
                                            {"I32", 4},
                                            {"U32", 4},
                                            {"F32", 4},
                                            {"I64", 8},
                                            {"U64", 8},
                                            {"F64", 8}}};

const std::array<std::string_view, kDtypes.size()> kDtypeNames = [] {
  std::array<std::string_view, kDtypes.size()> names;
  std::transform(kDtypes.begin(), kDtypes.end(), names.begin(), [](Dtype d) { return d.name; });
  return names;
}();

}  // namespace

std::span<const std::string_view> dtype_names() { return kDtypeNames; }

const char* dtype_name(SafetensorsDtype dtype) {
  return kDtypes[static_cast<std::size_t>(dtype)].name.data();
}

std::size_t dtype_bytes(SafetensorsDtype dtype) {
  return kDtypes[static_cast<std::size_t>(dtype)].bytes;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

uint64_t tensor_bytes(const SafetensorInfo& tensor) {
  const auto refuse = [&](const char* why) {
    throw InputError({{"", "tensor " + in_quotes(tensor.name) + ": the shape " +
                               shape_text(tensor.shape) + why}});
  };
  // A size of 0 makes the product 0 whatever the others are, but they must not overflow before it.
  auto bytes = static_cast<int64_t>(dtype_bytes(tensor.dtype));
  for (const int64_t size : tensor.shape) {
    if (size < 0) refuse(" has a negative size");
    if (__builtin_mul_overflow(bytes, size, &bytes)) refuse(" is too large");
  }
  return static_cast<uint64_t>(bytes);
}

}  // namespace orrery
