// torch.nn.utils.clip_grad_norm_ in plain code.
#pragma once

#include <cmath>

namespace orrery::kernels {

// What gradients are multiplied by; `norm_squared`, of all of them, may be nullptr when max_norm is
// 0: no clipping.
template <class T>
double clip_reference(const T* norm_squared, double max_norm) {
  if (max_norm <= 0) return 1;
  const double clip = max_norm / (std::sqrt(static_cast<double>(*norm_squared)) + 1e-6);
  return clip > 1 ? 1 : clip;  // keeps a NaN
}

}  // namespace orrery::kernels
