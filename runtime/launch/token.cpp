#include "runtime/launch/token.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "sim/base/error.h"

namespace orrery {

std::string random_token() {
  std::array<uint64_t, 2> bits{};
  ssize_t n = 0;
  do {
    n = ::getrandom(bits.data(), sizeof bits, 0);
  } while (n < 0 && errno == EINTR);
  if (n != sizeof bits) {
    throw Error(ExitCode::kUnavailable, "cannot make a token: getrandom: " +
                                            std::system_category().message(n < 0 ? errno : EIO));
  }
  return fmt::format("{:016x}{:016x}", bits[0], bits[1]);
}

bool is_token(std::string_view text) {
  return text.size() == kTokenDigits &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

std::string derived_token(std::string_view text) {
  const uint64_t first = hash64(text);
  return fmt::format("{:016x}{:016x}", first, hash64(text, ~first));
}

bool constant_time_equal(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  // Volatile: the compiler must not leave the loop early.
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<unsigned char>(a[i]);
    const auto y = static_cast<unsigned char>(b[i]);
    difference = static_cast<unsigned char>(difference | (x ^ y));
  }
  return difference == 0;
}

uint64_t hash64(std::string_view text, uint64_t start) {
  constexpr uint64_t kPrime = 0x100000001b3;
  uint64_t hash = start;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  return hash;
}

}  // namespace orrery
