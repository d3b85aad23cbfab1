// A built-in language of known entropy, to train on without data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/io/token_source.h"

namespace orrery {

struct SyntheticLanguageSpec {
  int64_t vocab_size = 0;       // 2 to 2^20
  int64_t successors = 16;      // that can follow a state: 2 to min(64, vocab_size)
  int64_t history_classes = 1;  // 1: a token depends on the one before it; C up to 64: also on the
                                // remainder by C of the one before that, which takes attention
  double min_exponent = 0.8;    // of Zipf's law; each state draws its own between the two, both in
  double max_exponent = 1.6;    // [0, 4]
  uint64_t seed = 0;
};

// A Markov chain. A state is the last token and the class of the one before it. Each state has a
// fixed set of successors, drawn at random; the one of rank r = 1, 2, .. follows with a probability
// proportional to r^-a, where a is the state's exponent. Probabilities are multiples of 2^-32, and
// sampling draws 32 random bits, so that the entropy is that of what is sampled, exactly.
//
// The last successor of token t is t + 1 (mod vocab_size), and 0 can follow 0: so every token is
// reached and the chain does not cycle, which makes its stationary distribution unique. A sequence
// begins with a state drawn from it.
//
// Memory is 8 bytes and the constructor takes 0.1 to 0.3 us per state and successor; each token
// takes a constant time.
class SyntheticLanguage : public TokenSource {
 public:
  explicit SyntheticLanguage(const SyntheticLanguageSpec& spec);  // InputError for a bad spec

  int64_t vocab_size() const override { return spec_.vocab_size; }
  // Any length. A shorter sample of the same index is a prefix of a longer one.
  void sample(uint64_t index, std::span<int32_t> out) const override;

  // The mean of -log p(token | tokens before it) over the stationary chain: what the loss of a
  // perfect model tends to. With history_classes > 1 the second token of a sequence costs more,
  // since the model does not see the one before the first.
  double entropy_nats() const { return entropy_nats_; }

  // Of `next` after `current`, which came after `previous`.
  double probability(int32_t previous, int32_t current, int32_t next) const;

 private:
  std::size_t state_of(int32_t previous, int32_t current) const;
  void draw_successors(std::size_t state);
  void draw_bounds(std::size_t state);
  double weight(std::size_t state, std::size_t rank) const;  // probability of a successor
  std::vector<double> stationary_distribution() const;

  SyntheticLanguageSpec spec_;
  std::size_t successors_;
  std::size_t states_;
  // [states, successors]: the tokens, and where their share of [0, 2^32) begins.
  std::vector<int32_t> next_;
  std::vector<uint32_t> bound_;
  std::vector<double> cumulative_;  // [states]: of the stationary distribution
  double entropy_nats_ = 0;
};

}  // namespace orrery
