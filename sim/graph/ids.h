// Indices that cannot be mixed up.
#pragma once

#include <compare>
#include <cstdint>

namespace orrery {

template <class Tag>
struct Id {
  uint32_t v = UINT32_MAX;
  constexpr bool valid() const { return v != UINT32_MAX; }
  constexpr auto operator<=>(const Id&) const = default;
};

using TensorId = Id<struct TensorTag>;
using ParamId = Id<struct ParamTag>;
using OpId = Id<struct OpTag>;

}  // namespace orrery
