// Casts between the integers of counts and what formulas and arrays want, short enough to be read
// past.
#pragma once

#include <cstddef>
#include <cstdint>

namespace orrery {

constexpr double d(int64_t x) { return static_cast<double>(x); }

// The index of an enumerator or of a number that is not negative.
constexpr std::size_t at(auto e) { return static_cast<std::size_t>(e); }

}  // namespace orrery
