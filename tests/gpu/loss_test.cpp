#include "kernels/loss/cross_entropy.h"
#include "kernels/loss/cross_entropy_parts.h"
#include "kernels/loss/cross_entropy_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

void test_cross_entropy(int64_t rows, int64_t vocab, float scale) {
  Random random;
  INFO("seed " << random.seed << ", rows " << rows << ", vocab " << vocab);
  std::vector<double> logits = random.normal_bf16(static_cast<std::size_t>(rows * vocab), 3);
  std::vector<int32_t> labels;
  for (int64_t r = 0; r < rows; ++r)
    labels.push_back(static_cast<int32_t>(random.integer(0, vocab - 1)));
  // An ignored row, a row far from zero, and a masked token.
  if (rows > 1) labels[1] = -1;
  if (rows > 2)
    for (int64_t v = 0; v < vocab; ++v) logits[static_cast<std::size_t>(2 * vocab + v)] += 10000;
  if (rows > 3) {
    labels[3] = 1;
    logits[static_cast<std::size_t>(3 * vocab)] = -INFINITY;
  }
  const std::vector<bf16> rounded = to_bf16(logits);  // 10000 + x is not a BF16 number
  logits = to_double(rounded);
  const DeviceBuffer<bf16> logits_d(rounded);
  const DeviceBuffer<int32_t> labels_d(labels);
  const DeviceBuffer<float> row_loss_d(labels.size()), loss_sum_d(std::vector<float>{1.5f});
  const CrossEntropyParams p{.rows = rows,
                             .vocab = vocab,
                             .logits = logits_d.get(),
                             .labels = labels_d.get(),
                             .scale = scale,
                             .row_loss = row_loss_d.get(),
                             .loss_sum = loss_sum_d.get()};
  launched(cross_entropy(p, nullptr));
  const std::vector<bf16> got = logits_d.download();
  const std::vector<float> row_loss = row_loss_d.download(), loss_sum = loss_sum_d.download();

  std::vector<double> want = logits, want_loss(labels.size()), want_sum{1.5};
  cross_entropy_reference<double>(rows, vocab, want.data(), labels.data(), scale, want_loss.data(),
                                  want_sum.data());
  require_close(to_double(row_loss), want_loss, 1e-5, 1e-4);
  require_close(to_double(loss_sum), want_sum, 1e-5, 1e-4);
  // At the label, softmax - 1 cancels; elsewhere the smallest probabilities count too.
  std::vector<double> gradient = to_double(got), at_label, want_at_label;
  for (int64_t r = 0; r < rows; ++r) {
    if (labels[static_cast<std::size_t>(r)] < 0) continue;
    const auto i = static_cast<std::size_t>(r * vocab + labels[static_cast<std::size_t>(r)]);
    at_label.push_back(gradient[i]);
    want_at_label.push_back(want[i]);
    gradient[i] = want[i] = 0;
  }
  require_close(at_label, want_at_label, 1.01 * kBf16Eps, 3e-6 * double{scale});
  require_close(gradient, want, 1.02 * kBf16Eps, 1e-12 * double{scale});
  logits_d.check_canaries();
  row_loss_d.check_canaries();
  loss_sum_d.check_canaries();

  DeviceBuffer<bf16> again_d(rounded);
  CrossEntropyParams again = p;
  again.logits = again_d.get();
  launched(cross_entropy(again, nullptr));
  REQUIRE(same_bits(again_d.download(), got));
  REQUIRE(same_bits(row_loss_d.download(), row_loss));
}

}  // namespace

TEST_CASE("cross_entropy", "[gpu][loss]") {
  for (const float scale : {1.0f, 1.0f / 4096}) {
    test_cross_entropy(0, 64, scale);
    test_cross_entropy(1, 8, scale);
    test_cross_entropy(7, 1000, scale);
    test_cross_entropy(600, 4104, scale);
    test_cross_entropy(5, 129'280, scale);
  }
}

namespace {

// Of every rank of a group that splits the vocabulary, against the cross-entropy of the whole.
void test_parts(int64_t rows, int64_t vocab, int64_t ranks, float scale) {
  Random random;
  INFO("seed " << random.seed << ", rows " << rows << ", vocab " << vocab << ", ranks " << ranks);
  const auto n = static_cast<std::size_t>(rows * vocab);
  const int64_t whole = ranks * vocab;
  std::vector<int32_t> labels;
  for (int64_t r = 0; r < rows; ++r)
    labels.push_back(static_cast<int32_t>(random.integer(0, whole - 1)));
  if (rows > 1) labels[1] = 1;  // not the masked token
  std::vector<double> all(n * static_cast<std::size_t>(ranks));
  std::vector<std::vector<bf16>> of_rank;
  const DeviceBuffer<float> parts_d(static_cast<std::size_t>(ranks * rows * 3));
  for (int64_t k = 0; k < ranks; ++k) {
    // The ranks' logits differ in size, so that the largest counts.
    std::vector<double> logits = random.normal_bf16(n, 3);
    for (double& x : logits) x += static_cast<double>(4 * k);
    if (rows > 1) logits[static_cast<std::size_t>(vocab)] = -INFINITY;
    of_rank.push_back(to_bf16(logits));
    logits = to_double(of_rank.back());
    std::vector<int32_t> local;
    for (const int32_t label : labels)
      local.push_back(label / vocab == k ? static_cast<int32_t>(label % vocab) : -1);
    for (int64_t i = 0; i < rows * vocab; ++i)
      all[static_cast<std::size_t>(i / vocab * whole + k * vocab + i % vocab)] =
          logits[static_cast<std::size_t>(i)];
    const DeviceBuffer<bf16> logits_d(of_rank.back());
    const DeviceBuffer<int32_t> local_d(local);
    const DeviceBuffer<float> part_d(static_cast<std::size_t>(rows * 3));
    launched(cross_entropy_part({.rows = rows,
                                 .vocab = vocab,
                                 .logits = logits_d.get(),
                                 .labels = local_d.get(),
                                 .parts = part_d.get()},
                                nullptr));
    const std::vector<float> part = part_d.download();
    part_d.check_canaries();
    std::vector<double> want(part.size());
    cross_entropy_part_reference<double>(rows, vocab, logits.data(), local.data(), want.data());
    require_close(to_double(part), want, 1e-5, 1e-6);
    cuda_ok(cudaMemcpy(parts_d.get() + k * rows * 3, part.data(), part.size() * sizeof(float),
                       cudaMemcpyHostToDevice));
  }
  std::vector<double> gradient = all, want_loss(labels.size()), want_sum{1.5};
  cross_entropy_reference<double>(rows, whole, gradient.data(), labels.data(), scale,
                                  want_loss.data(), want_sum.data());
  for (int64_t k = 0; k < ranks; ++k) {
    DeviceBuffer<bf16> logits_d(of_rank[static_cast<std::size_t>(k)]);
    std::vector<int32_t> local;
    for (const int32_t label : labels)
      local.push_back(label / vocab == k ? static_cast<int32_t>(label % vocab) : -1);
    const DeviceBuffer<int32_t> local_d(local);
    const DeviceBuffer<float> row_loss_d(labels.size()), loss_sum_d(std::vector<float>{1.5f});
    const CrossEntropyMergeParams p{.rows = rows,
                                    .vocab = vocab,
                                    .ranks = ranks,
                                    .logits = logits_d.get(),
                                    .labels = local_d.get(),
                                    .parts = parts_d.get(),
                                    .scale = scale,
                                    .row_loss = row_loss_d.get(),
                                    .loss_sum = k == 0 ? loss_sum_d.get() : nullptr};
    launched(cross_entropy_merge(p, nullptr));
    const std::vector<bf16> got = logits_d.download();
    const std::vector<float> row_loss = row_loss_d.download();
    require_close(to_double(row_loss), want_loss, 1e-5, 1e-4);
    require_close(to_double(loss_sum_d.download()), k == 0 ? want_sum : std::vector<double>{1.5},
                  1e-5, 1e-4);
    std::vector<double> mine, at_label, want_at_label, found = to_double(got);
    for (int64_t i = 0; i < rows * vocab; ++i) {
      const auto r = static_cast<std::size_t>(i / vocab);
      const double want = gradient[r * static_cast<std::size_t>(whole) +
                                   static_cast<std::size_t>(k * vocab + i % vocab)];
      const bool label = local[r] == i % vocab;
      mine.push_back(label ? 0 : want);
      if (!label) continue;
      // softmax - 1 cancels there.
      at_label.push_back(std::exchange(found[static_cast<std::size_t>(i)], 0));
      want_at_label.push_back(want);
    }
    require_close(at_label, want_at_label, 1.01 * kBf16Eps, 3e-6 * double{scale});
    require_close(found, mine, 1.02 * kBf16Eps, 1e-12 * double{scale});
    logits_d.check_canaries();
    row_loss_d.check_canaries();
    loss_sum_d.check_canaries();
    logits_d.upload(of_rank[static_cast<std::size_t>(k)]);
    launched(cross_entropy_merge(p, nullptr));
    REQUIRE(same_bits(logits_d.download(), got));
    REQUIRE(same_bits(row_loss_d.download(), row_loss));
  }
}

}  // namespace

TEST_CASE("cross-entropy over a split vocabulary is that of the whole", "[gpu][loss]") {
  for (const float scale : {1.0f, 1.0f / 4096}) {
    test_parts(0, 64, 2, scale);
    test_parts(1, 8, 1, scale);
    test_parts(7, 1000, 2, scale);
    test_parts(300, 4104, 3, scale);
    test_parts(5, 16'160, 8, scale);
  }
}

TEST_CASE("parts of a cross-entropy name bad arguments", "[gpu][loss]") {
  alignas(16) bf16 logits[16];
  int32_t label = 0;
  float part[3];
  CHECK(cross_entropy_part(
            {.rows = 1, .vocab = 12, .logits = logits, .labels = &label, .parts = part}, nullptr)
            .error == "cross_entropy_part: vocab is not a positive multiple of 8");
  CHECK(cross_entropy_part({.rows = 1, .vocab = 8, .logits = logits, .labels = &label}, nullptr)
            .error == "cross_entropy_part: logits, labels or parts is null");
  CHECK(cross_entropy_merge(
            {.rows = 1, .vocab = 8, .logits = logits, .labels = &label, .parts = part}, nullptr)
            .error == "cross_entropy_merge: logits, labels, parts or row_loss is null");
  CHECK(cross_entropy_merge({.rows = 1, .vocab = 8, .ranks = 0}, nullptr).error ==
        "cross_entropy_merge: ranks is not positive");
}

TEST_CASE("a label beyond the vocabulary gives a loss of NaN", "[gpu][loss]") {
  const DeviceBuffer<bf16> logits(to_bf16(std::vector<double>(16, 1)));
  const DeviceBuffer<int32_t> labels(std::vector<int32_t>{3, 8});
  const DeviceBuffer<float> row_loss(2), loss_sum(std::vector<float>{0});
  launched(cross_entropy({.rows = 2,
                          .vocab = 8,
                          .logits = logits.get(),
                          .labels = labels.get(),
                          .row_loss = row_loss.get(),
                          .loss_sum = loss_sum.get()},
                         nullptr));
  const std::vector<float> losses = row_loss.download();
  CHECK(losses[0] == Approx(std::log(8.0)));
  CHECK(std::isnan(losses[1]));
  CHECK(std::isnan(loss_sum.download()[0]));
}

TEST_CASE("cross_entropy names bad arguments", "[gpu][loss]") {
  alignas(16) bf16 logits[16];
  int32_t label = 0;
  float loss = 0;
  CrossEntropyParams p{.rows = 1,
                       .vocab = 12,
                       .logits = logits,
                       .labels = &label,
                       .row_loss = &loss,
                       .loss_sum = &loss};
  CHECK(cross_entropy(p, nullptr).error == "cross_entropy: vocab is not a positive multiple of 8");
  p.vocab = 8, p.logits = logits + 1;
  CHECK(cross_entropy(p, nullptr).error == "cross_entropy: logits is not 16-byte aligned");
  p.logits = logits, p.loss_sum = nullptr;
  CHECK(cross_entropy(p, nullptr).error ==
        "cross_entropy: logits, labels, row_loss or loss_sum is null");
}
