#include "kernels/loss/cross_entropy_reference.h"
#include "tests/catch.h"
#include "tests/unit/kernels/gradient.h"

using namespace orrery::kernels;

TEST_CASE("cross_entropy of a softmax by hand", "[kernels][loss]") {
  // Row 0: exp = 1, 2, 5 of 8. Row 1 is ignored. Row 2: equal logits, shifted far beyond exp's
  // range, a third each.
  std::vector<double> logits{0, std::log(2.0), std::log(5.0), 4, 5, 6, 5000, 5000, 5000};
  const std::vector<int32_t> labels{1, -1, 2};
  std::vector<double> row_loss(3, -1);
  double sum = 10;
  cross_entropy_reference(3, 3, logits.data(), labels.data(), 4.0, row_loss.data(), &sum);
  CHECK(row_loss[0] == Approx(std::log(4.0)));  // -ln(2/8)
  CHECK(row_loss[1] == 0);
  CHECK(row_loss[2] == Approx(std::log(3.0)));
  CHECK(sum == Approx(10 + std::log(4.0) + std::log(3.0)));
  // (softmax - onehot) · 4.
  const std::vector<double> gradient{0.5, (0.25 - 1) * 4, 2.5, 0, 0, 0, 4.0 / 3, 4.0 / 3, -8.0 / 3};
  for (std::size_t i = 0; i < logits.size(); ++i) CHECK(logits[i] == Approx(gradient[i]));
}

TEST_CASE("cross_entropy over a vocabulary of two ranks by hand", "[kernels][loss]") {
  // exp = 1, 2 | 5, 8 of 16 in row 0, whose label is the first rank's second; equal logits in row
  // 1, whose label is the second rank's first.
  std::vector<double> first{0, std::log(2.0), 700, 700},
      second{std::log(5.0), std::log(8.0), 700, 700};
  const std::vector<int32_t> of_first{1, -1}, of_second{-1, 0};
  std::vector<double> parts(12);
  cross_entropy_part_reference(2, 2, first.data(), of_first.data(), parts.data());
  cross_entropy_part_reference(2, 2, second.data(), of_second.data(), parts.data() + 6);
  // {largest, sum of exp(logit - largest), label}: 1/2 + 1 and 5/8 + 1 in row 0.
  const std::vector<double> want{std::log(2.0), 1.5, std::log(2.0), 700, 2,  0, std::log(8.0),
                                 1.625,         0,   700,           2,   700};
  for (std::size_t i = 0; i < want.size(); ++i) CHECK(parts[i] == Approx(want[i]));
  std::vector<double> row_loss(2);
  double sum = 0;
  cross_entropy_merge_reference(2, 2, 2, first.data(), of_first.data(), parts.data(), 2.0,
                                row_loss.data(), &sum);
  cross_entropy_merge_reference(2, 2, 2, second.data(), of_second.data(), parts.data(), 2.0,
                                row_loss.data(), &sum);
  CHECK(row_loss[0] == Approx(std::log(8.0)));  // -ln(2/16)
  CHECK(row_loss[1] == Approx(std::log(4.0)));
  CHECK(sum == Approx(2 * (std::log(8.0) + std::log(4.0))));  // both ranks have it
  const std::vector<double> of_first_rank{0.125, -1.75, 0.5, 0.5};
  const std::vector<double> of_second_rank{0.625, 1, -1.5, 0.5};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(first[i] == Approx(of_first_rank[i]));
    CHECK(second[i] == Approx(of_second_rank[i]));
  }
}

TEST_CASE("cross_entropy leaves the gradient of its loss", "[kernels][loss]") {
  constexpr std::size_t kRows = 3, kVocab = 6;
  constexpr double kScale = 0.25;
  std::vector<double> logits = test::normal_values(kRows * kVocab, 1);
  const std::vector<int32_t> labels{5, 0, -1};
  const auto loss = [&] {
    std::vector<double> copy = logits, row_loss(kRows);
    double sum = 0;
    cross_entropy_reference(kRows, kVocab, copy.data(), labels.data(), kScale, row_loss.data(),
                            &sum);
    return sum * kScale;
  };
  std::vector<double> gradient = logits, row_loss(kRows);
  double sum = 0;
  cross_entropy_reference(kRows, kVocab, gradient.data(), labels.data(), kScale, row_loss.data(),
                          &sum);
  for (std::size_t i = 0; i < logits.size(); ++i)
    CHECK(gradient[i] ==
          Approx(test::central_difference(logits, i, loss)).epsilon(1e-6).margin(1e-12));
}
