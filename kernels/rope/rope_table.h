// Rotary position embedding: frequencies with the context extensions of Hugging Face transformers
// (modeling_rope_utils.py), and the table of cosines and sines that the kernel reads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace orrery::kernels {

// Which two elements of the n rotated columns form pair i: (2i, 2i+1), as in DeepSeek's and Meta's
// code, or (i, i + n/2), Hugging Face's rotate_half.
enum class RopeStyle : uint8_t { kInterleaved, kHalf };

// `rope_theta` and `rope_scaling` of a Hugging Face config.json; fields that a kind does not name
// are ignored.
struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kYarn, kLlama3 };
  Kind kind = Kind::kNone;
  double theta = 10000;
  double factor = 1;                     // all kinds but kNone
  double beta_fast = 32;                 // kYarn
  double beta_slow = 1;                  // kYarn
  double mscale = 0;                     // kYarn; 0: absent
  double mscale_all_dim = 0;             // kYarn; 0: absent
  double low_freq_factor = 1;            // kLlama3
  double high_freq_factor = 4;           // kLlama3
  double attention_factor = 0;           // kYarn; 0: derived
  int64_t original_max_position = 4096;  // kYarn and kLlama3
  bool truncate = true;                  // kYarn: the ramp begins and ends at whole dimensions
};

inline double yarn_get_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// What the cosines and sines are multiplied by.
inline double rope_attention_factor(const RopeScaling& s) {
  if (s.kind != RopeScaling::Kind::kYarn) return 1;
  if (s.attention_factor != 0) return s.attention_factor;
  if (s.mscale != 0 && s.mscale_all_dim != 0)
    return yarn_get_mscale(s.factor, s.mscale) / yarn_get_mscale(s.factor, s.mscale_all_dim);
  return yarn_get_mscale(s.factor, 1);
}

// Factor of the attention scores. DeepSeek-V3's attention multiplies the usual 1/sqrt(qk_dim) by
// mscale² when its config names mscale_all_dim.
inline double softmax_scale(int64_t qk_dim, const RopeScaling& s) {
  const double scale = 1 / std::sqrt(static_cast<double>(qk_dim));
  if (s.kind != RopeScaling::Kind::kYarn || s.mscale_all_dim == 0) return scale;
  const double mscale = yarn_get_mscale(s.factor, s.mscale_all_dim);
  return scale * mscale * mscale;
}

// _compute_yarn_parameters: pairs that turn more than beta_fast times within the original context
// keep their frequency, those that turn less than beta_slow times have it divided by `factor`, with
// a linear ramp over the pairs in between.
inline double yarn_inv_freq(int64_t pair, int64_t n, const RopeScaling& s) {
  const double dim = static_cast<double>(n);
  const auto correction_dim = [&](double rotations) {
    const double wave =
        static_cast<double>(s.original_max_position) / (rotations * 2 * std::numbers::pi);
    return dim * std::log(wave) / (2 * std::log(s.theta));
  };
  const double first = correction_dim(s.beta_fast), last = correction_dim(s.beta_slow);
  const double low = std::max(s.truncate ? std::floor(first) : first, 0.0);
  double high = std::min(s.truncate ? std::ceil(last) : last, dim - 1);
  if (high == low) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
  const double frequency = std::pow(s.theta, -2 * static_cast<double>(pair) / dim);
  return frequency / s.factor * ramp + frequency * (1 - ramp);
}

// _compute_llama3_parameters: by wavelength in tokens, the same with a ramp in 1/wavelength.
inline double llama3_inv_freq(double frequency, const RopeScaling& s) {
  const double context = static_cast<double>(s.original_max_position);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < context / s.high_freq_factor) return frequency;
  if (wavelength > context / s.low_freq_factor) return frequency / s.factor;
  const double smooth =
      (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

// Radians per token of pair `pair` of the n rotated columns.
inline double rope_inv_freq(int64_t pair, int64_t n, const RopeScaling& s) {
  const double frequency =
      std::pow(s.theta, -2 * static_cast<double>(pair) / static_cast<double>(n));
  switch (s.kind) {
    case RopeScaling::Kind::kNone:
      return frequency;
    case RopeScaling::Kind::kLinear:
      return frequency / s.factor;
    case RopeScaling::Kind::kYarn:
      return yarn_inv_freq(pair, n, s);
    case RopeScaling::Kind::kLlama3:
      return llama3_inv_freq(frequency, s);
  }
  return frequency;
}

// out[position][pair] = (cos, sin) of position · frequency times the attention factor:
// [seq_len][n/2][2]. Angles are taken in double: float ones are off by 1e-4 at position 4096.
template <class T>
void rope_table(int64_t seq_len, int64_t n, const RopeScaling& scaling, std::vector<T>& out) {
  const int64_t pairs = n / 2;
  const double factor = rope_attention_factor(scaling);
  out.resize(static_cast<std::size_t>(seq_len * pairs * 2));
  for (int64_t i = 0; i < pairs; ++i) {
    const double frequency = rope_inv_freq(i, n, scaling);
    for (int64_t position = 0; position < seq_len; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      T* entry = out.data() + (position * pairs + i) * 2;
      entry[0] = static_cast<T>(std::cos(angle) * factor);
      entry[1] = static_cast<T>(std::sin(angle) * factor);
    }
  }
}

}  // namespace orrery::kernels
