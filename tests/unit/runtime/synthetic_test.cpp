#include "runtime/io/synthetic.h"

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::failure_of;

SyntheticLanguageSpec spec_of(int64_t vocab_size, int64_t successors, int64_t classes,
                              uint64_t seed) {
  SyntheticLanguageSpec spec;
  spec.vocab_size = vocab_size;
  spec.successors = successors;
  spec.history_classes = classes;
  spec.seed = seed;
  return spec;
}

std::vector<int32_t> sample(const SyntheticLanguage& language, uint64_t index, std::size_t n) {
  std::vector<int32_t> out(n);
  language.sample(index, out);
  return out;
}

TEST_CASE("the successors of every state have probabilities that sum to one", "[io]") {
  for (const auto& [vocab, successors, classes] :
       {std::tuple{2, 2, 1}, {2, 2, 2}, {7, 7, 3}, {50, 4, 1}, {40, 16, 5}}) {
    const SyntheticLanguage language(spec_of(vocab, successors, classes, 9));
    for (int32_t previous = 0; previous < classes; ++previous) {
      for (int32_t current = 0; current < vocab; ++current) {
        double sum = 0;
        int count = 0;
        for (int32_t next = 0; next < vocab; ++next) {
          const double p = language.probability(previous, current, next);
          sum += p;
          count += p > 0 ? 1 : 0;
          CHECK(p * 0x1p32 == std::floor(p * 0x1p32));
        }
        CHECK(sum == 1);
        CHECK(count == successors);
      }
    }
  }
}

// The entropy by other means: the stationary distribution as the solution of the linear equations
// pi P = pi, sum pi = 1 (Gaussian elimination), over pairs of tokens.
double entropy_by_elimination(const SyntheticLanguage& language, int32_t vocab, int32_t classes) {
  const auto width = static_cast<std::size_t>(vocab);
  const auto state = [&](int32_t previous, int32_t current) {
    return static_cast<std::size_t>(previous % classes) * width + static_cast<std::size_t>(current);
  };
  const std::size_t size = width * static_cast<std::size_t>(classes);
  std::vector<std::vector<double>> a(size, std::vector<double>(size + 1));
  for (int32_t c = 0; c < classes; ++c) {
    for (int32_t current = 0; current < vocab; ++current) {
      for (int32_t next = 0; next < vocab; ++next) {
        a[state(current, next)][state(c, current)] += language.probability(c, current, next);
      }
    }
  }
  for (std::size_t i = 0; i < size; ++i) a[i][i] -= 1;
  std::fill(a[0].begin(), a[0].end(), 1.0);  // one equation is redundant
  for (std::size_t col = 0; col < size; ++col) {
    std::size_t pivot = col;
    for (std::size_t r = col; r < size; ++r) {
      if (std::abs(a[r][col]) > std::abs(a[pivot][col])) pivot = r;
    }
    std::swap(a[col], a[pivot]);
    for (std::size_t r = 0; r < size; ++r) {
      if (r == col || a[r][col] == 0) continue;
      const double factor = a[r][col] / a[col][col];
      for (std::size_t k = col; k <= size; ++k) a[r][k] -= factor * a[col][k];
    }
  }
  double entropy = 0;
  for (int32_t c = 0; c < classes; ++c) {
    for (int32_t current = 0; current < vocab; ++current) {
      const std::size_t s = state(c, current);
      for (int32_t next = 0; next < vocab; ++next) {
        const double p = language.probability(c, current, next);
        if (p > 0) entropy -= a[s][size] / a[s][s] * p * std::log(p);
      }
    }
  }
  return entropy;
}

TEST_CASE("the entropy is that of the exact stationary distribution", "[io]") {
  for (const auto& [vocab, successors, classes] :
       {std::tuple{2, 2, 1}, {3, 2, 3}, {30, 2, 1}, {60, 8, 1}, {25, 5, 4}}) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const SyntheticLanguage language(spec_of(vocab, successors, classes, seed));
      CAPTURE(vocab, successors, classes, seed);
      CHECK(language.entropy_nats() ==
            Approx(entropy_by_elimination(language, vocab, classes)).epsilon(1e-10));
      CHECK(language.entropy_nats() > 0);
      CHECK(language.entropy_nats() < std::log(successors));
    }
  }
}

TEST_CASE("with exponent 0 all successors are equally likely", "[io]") {
  SyntheticLanguageSpec spec = spec_of(100, 16, 1, 3);
  spec.min_exponent = spec.max_exponent = 0;
  CHECK(SyntheticLanguage(spec).entropy_nats() == Approx(std::log(16)).epsilon(1e-9));
}

TEST_CASE("the loss of a perfect model is the entropy, at every position", "[io]") {
  for (const int64_t classes : {1, 3}) {
    const SyntheticLanguage language(spec_of(1000, 16, classes, 11));
    constexpr uint64_t kSequences = 4000;
    constexpr std::size_t kLength = 34;
    double early = 0, late = 0, squares = 0;
    for (uint64_t index = 0; index < kSequences; ++index) {
      const std::vector<int32_t> tokens = sample(language, index, kLength);
      for (std::size_t t = 2; t < kLength; ++t) {
        const double p = language.probability(tokens[t - 2], tokens[t - 1], tokens[t]);
        REQUIRE(p > 0);
        const double loss = -std::log(p);
        (t < 18 ? early : late) += loss;
        squares += loss * loss;
      }
    }
    const double half = kSequences * 16.0;
    const double mean = (early + late) / (2 * half);
    const double sigma = std::sqrt((squares / (2 * half) - mean * mean) / half);
    CAPTURE(classes, mean, sigma);
    CHECK(std::abs(early / half - language.entropy_nats()) < 5 * sigma);
    CHECK(std::abs(late / half - language.entropy_nats()) < 5 * sigma);
    CHECK(sigma < 0.01);
  }
}

TEST_CASE("tokens follow each other as often as the probabilities say", "[io]") {
  constexpr int32_t kVocab = 6;
  constexpr int32_t kClasses = 2;
  const SyntheticLanguage language(spec_of(kVocab, 4, kClasses, 5));
  std::map<std::pair<int32_t, int32_t>, std::map<int32_t, double>> counts;
  for (uint64_t index = 0; index < 2000; ++index) {
    const std::vector<int32_t> tokens = sample(language, index, 102);
    for (std::size_t t = 2; t < tokens.size(); ++t) {
      counts[{tokens[t - 2] % kClasses, tokens[t - 1]}][tokens[t]] += 1;
    }
  }
  double chi_squared = 0;
  int degrees = 0;
  for (const auto& [state, next_counts] : counts) {
    double total = 0;
    for (const auto& [next, count] : next_counts) total += count;
    if (total < 200) continue;
    for (int32_t next = 0; next < kVocab; ++next) {
      const double expected = total * language.probability(state.first, state.second, next);
      const auto found = next_counts.find(next);
      const double count = found == next_counts.end() ? 0 : found->second;
      if (expected == 0) CHECK(count == 0);
      if (expected > 0) chi_squared += (count - expected) * (count - expected) / expected;
    }
    degrees += 3;
  }
  CAPTURE(chi_squared, degrees);
  CHECK(degrees >= 18);
  CHECK(chi_squared < degrees + 6 * std::sqrt(2.0 * degrees));
}

TEST_CASE("a sequence begins as it goes on", "[io]") {
  constexpr std::size_t kVocab = 20;
  const SyntheticLanguage language(spec_of(kVocab, 4, 1, 6));
  std::vector<double> first(kVocab), later(kVocab);
  for (uint64_t index = 0; index < 40'000; ++index) {
    const std::vector<int32_t> tokens = sample(language, index, 60);
    first[static_cast<std::size_t>(tokens.front())] += 1;
    later[static_cast<std::size_t>(tokens.back())] += 1;
  }
  double chi_squared = 0;  // of two samples of equal size
  for (std::size_t token = 0; token < kVocab; ++token) {
    const double difference = first[token] - later[token];
    if (difference != 0) chi_squared += difference * difference / (first[token] + later[token]);
  }
  CHECK(chi_squared < 60);  // 19 degrees of freedom: 19 + 6.6 sigma
}

TEST_CASE("a sequence depends on seed and index alone", "[io]") {
  const SyntheticLanguage language(spec_of(500, 16, 2, 77));
  const SyntheticLanguage same(spec_of(500, 16, 2, 77));
  const SyntheticLanguage other(spec_of(500, 16, 2, 78));
  const std::vector<int32_t> tokens = sample(language, 1'000'000'007, 300);
  sample(same, 3, 10);
  CHECK(sample(same, 1'000'000'007, 300) == tokens);
  CHECK(sample(other, 1'000'000'007, 300) != tokens);
  CHECK(sample(language, 1'000'000'008, 300) != tokens);
  const std::vector<int32_t> prefix(tokens.begin(), tokens.begin() + 20);
  CHECK(sample(language, 1'000'000'007, 20) == prefix);
  CHECK(sample(language, 0, 0).empty());
  std::set<std::vector<int32_t>> distinct;
  for (uint64_t i = 0; i < 1000; ++i) distinct.insert(sample(language, i, 40));
  CHECK(distinct.size() == 1000);
}

TEST_CASE("a large vocabulary is used whole", "[io]") {
  const SyntheticLanguage language(spec_of(131072, 16, 1, 1));
  CHECK(language.vocab_size() == 131072);
  CHECK(language.entropy_nats() > 1.5);
  CHECK(language.entropy_nats() < std::log(16));
  std::vector<int> seen(131072);
  for (uint64_t i = 0; i < 400; ++i) {
    for (const int32_t token : sample(language, i, 4096)) {
      REQUIRE(token >= 0);
      REQUIRE(token < 131072);
      seen[static_cast<std::size_t>(token)] = 1;
    }
  }
  CHECK(std::count(seen.begin(), seen.end(), 1) > 120'000);
}

TEST_CASE("a language that cannot be is refused", "[io]") {
  const auto refuses = [](SyntheticLanguageSpec spec, const std::string& text) {
    const testing::Failure failure = failure_of([&] { SyntheticLanguage language(spec); });
    CHECK(failure.code == ExitCode::kBadInput);
    CHECK(failure.message.find(text) != std::string::npos);
  };
  refuses(spec_of(1, 2, 1, 0), "vocab_size 1, expected 2 to 1048576");
  refuses(spec_of(-5, 2, 1, 0), "vocab_size -5");
  refuses(spec_of(10, 11, 1, 0), "successors 11, expected 2 to 10");
  refuses(spec_of(1000, 65, 1, 0), "successors 65, expected 2 to 64");
  refuses(spec_of(1000, 1, 1, 0), "successors 1");
  refuses(spec_of(1000, 2, 0, 0), "history_classes 0");
  refuses(spec_of(1 << 20, 64, 64, 0), "vocab_size * history_classes * successors");
  SyntheticLanguageSpec spec = spec_of(100, 4, 1, 0);
  spec.min_exponent = 2;
  refuses(spec, "min_exponent <= max_exponent");
  spec.min_exponent = std::nan("");
  refuses(spec, "min_exponent <= max_exponent");
}

}  // namespace
}  // namespace orrery
