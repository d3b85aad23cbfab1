// What a launch function returns: nothing, or what was wrong with an argument or with CUDA.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

namespace orrery::kernels {

struct [[nodiscard]] Status {
  std::string error;  // "rms_norm: cols is 7, expected a multiple of 8"; empty: launched
  bool ok() const { return error.empty(); }
};

inline Status failed(std::string error) { return {std::move(error)}; }

// The first of the checks that fails, in words: `check("gemm", {{k % 16 == 0, "k is not ..."}})`.
struct Check {
  bool holds;
  std::string otherwise;
};

inline Status check(const char* kernel, std::initializer_list<Check> checks) {
  for (const Check& c : checks)
    if (!c.holds) return failed(std::string(kernel) + ": " + c.otherwise);
  return {};
}

}  // namespace orrery::kernels
