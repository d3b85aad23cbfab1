// Strong types for the quantities that flow through the simulator. A value can only be added to,
// compared with or assigned from a value of its own type; conversions are spelled out by name.
#pragma once

#include <cmath>
#include <compare>
#include <cstdint>

namespace orrery {

// A number tagged with what it counts. `Rep` is the storage; arithmetic is the one that makes
// sense for a linear quantity (sum, difference, scaling by a plain number, ratio).
template <class Tag, class Rep>
class Quantity {
 public:
  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep v) : v_(v) {}
  constexpr Rep count() const { return v_; }

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity operator-() const { return Quantity(-v_); }
  constexpr Quantity& operator+=(Quantity o) { return v_ += o.v_, *this; }
  constexpr Quantity& operator-=(Quantity o) { return v_ -= o.v_, *this; }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return Quantity(a.v_ + b.v_); }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return Quantity(a.v_ - b.v_); }
  friend constexpr Quantity operator*(Quantity a, Rep k) { return Quantity(a.v_ * k); }
  friend constexpr Quantity operator*(Rep k, Quantity a) { return Quantity(a.v_ * k); }
  friend constexpr Quantity operator/(Quantity a, Rep k) { return Quantity(a.v_ / k); }
  friend constexpr Rep operator/(Quantity a, Quantity b) { return a.v_ / b.v_; }

 private:
  Rep v_{};
};

// Simulated time and durations: integer picoseconds (int64 spans 106 days), so that equality is
// exact and sums do not depend on their order.
using Picos = Quantity<struct PicosTag, int64_t>;
using Bytes = Quantity<struct BytesTag, int64_t>;
using Flops = Quantity<struct FlopsTag, double>;  // floating point operations
using FlopsPerSecond = Quantity<struct FlopsRateTag, double>;
using BytesPerSecond = Quantity<struct BytesRateTag, double>;
using Usd = Quantity<struct UsdTag, double>;

constexpr double kPicosPerSecond = 1e12;
constexpr double kBytesPerGiB = 1073741824.0;

constexpr double seconds(Picos t) { return static_cast<double>(t.count()) / kPicosPerSecond; }
constexpr double micros(Picos t) { return static_cast<double>(t.count()) / 1e6; }
constexpr double gib(Bytes b) { return static_cast<double>(b.count()) / kBytesPerGiB; }

// Rounds to the nearest picosecond. `s` must be finite and below 10^6 seconds.
inline Picos from_seconds(double s) { return Picos(std::llround(s * kPicosPerSecond)); }
inline Picos from_micros(double us) { return Picos(std::llround(us * 1e6)); }
inline Bytes from_gib(double g) { return Bytes(std::llround(g * kBytesPerGiB)); }
constexpr BytesPerSecond from_GBps(double g) { return BytesPerSecond(g * 1e9); }
constexpr FlopsPerSecond from_TFLOPS(double t) { return FlopsPerSecond(t * 1e12); }

// Time to move `b` bytes at rate `r`, and to do `f` operations at rate `r`, in seconds.
constexpr double transfer_seconds(Bytes b, BytesPerSecond r) {
  return static_cast<double>(b.count()) / r.count();
}
constexpr double compute_seconds(Flops f, FlopsPerSecond r) { return f / Flops(r.count()); }

}  // namespace orrery
