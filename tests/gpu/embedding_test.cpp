#include "kernels/embedding/embedding.h"

#include "kernels/embedding/embedding_reference.h"
#include "kernels/embedding/local_ids.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

struct Shape {
  int64_t rows, cols, vocab;
  int64_t ids;  // drawn from [0, ids): a few ids come often
};

void test_embedding(const Shape& s) {
  Random random;
  INFO("seed " << random.seed << ", rows " << s.rows << ", cols " << s.cols << ", vocab " << s.vocab
               << ", ids " << s.ids);
  std::vector<int32_t> ids;
  for (int64_t r = 0; r < s.rows; ++r)
    ids.push_back(static_cast<int32_t>(random.integer(0, s.ids - 1)));
  for (std::size_t r = 3; r < ids.size(); r += 7) ids[r] = -1;
  const std::size_t in_rows = static_cast<std::size_t>(s.rows * s.cols);
  const std::size_t in_table = static_cast<std::size_t>(s.vocab * s.cols);
  const std::vector<double> table = random.normal_bf16(in_table), dx = random.normal_bf16(in_rows);
  const std::vector<double> before = random.normal_bf16(in_table);
  const DeviceBuffer<int32_t> ids_d(ids);
  const DeviceBuffer<bf16> table_d(to_bf16(table)), dx_d(to_bf16(dx)), out_d(in_rows);
  const std::vector<float> before_f(before.begin(), before.end());
  DeviceBuffer<float> grad_d(before_f);

  launched(embedding_forward({.rows = s.rows,
                              .cols = s.cols,
                              .vocab = s.vocab,
                              .ids = ids_d.get(),
                              .table = table_d.get(),
                              .out = out_d.get()},
                             nullptr));
  std::vector<double> want_out(in_rows), want = before;
  embedding_forward_reference(s.rows, s.cols, ids.data(), table.data(), want_out.data());
  REQUIRE(same_bits(out_d.download(), to_bf16(want_out)));
  out_d.check_canaries();

  const EmbeddingBackwardParams p{.rows = s.rows,
                                  .cols = s.cols,
                                  .vocab = s.vocab,
                                  .ids = ids_d.get(),
                                  .dx = dx_d.get(),
                                  .grad = grad_d.get()};
  launched(embedding_backward(p, nullptr));
  const std::vector<float> grad = grad_d.download();
  embedding_backward_reference(s.rows, s.cols, ids.data(), dx.data(), want.data());
  // An FP32 sum of k values of size 1 is off by less than 2^-24 · k · sqrt(k).
  const double same = static_cast<double>(s.rows) / static_cast<double>(s.ids) + 10;
  require_close(to_double(grad), want, 1e-6, 0x1p-24 * same * std::sqrt(same));
  grad_d.check_canaries();
  grad_d.upload(before_f);
  launched(embedding_backward(p, nullptr));
  REQUIRE(same_bits(grad_d.download(), grad));
}

}  // namespace

TEST_CASE("embedding", "[gpu][embedding]") {
  // All rows distinct or nearly, all the same, spans of 1024 ids cut raggedly, columns beyond one
  // block, one row, nothing.
  const Shape shapes[] = {
      {64, 128, 20'000, 20'000}, {3000, 64, 50, 1}, {1025, 264, 300, 300}, {2047, 2056, 10, 3},
      {37, 7168, 20, 20},        {1, 8, 5, 5},      {0, 8, 5, 5}};
  for (const Shape& s : shapes) test_embedding(s);
}

TEST_CASE("local_ids: each token is of one range of the vocabulary", "[gpu][embedding]") {
  Random random;
  INFO("seed " << random.seed);
  constexpr int64_t kSequences = 3, kLength = 700, kStride = 703, kVocab = 40;
  std::vector<int32_t> ids(kSequences * kStride);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.integer(0, 4 * kVocab - 1));
  const DeviceBuffer<int32_t> ids_d(ids), out_d(kSequences * kLength);
  for (int64_t rank = 0; rank < 4; ++rank) {
    // As two runs of positions.
    for (const auto& [begin, length] : {std::pair{0, 300}, std::pair{300, 400}})
      launched(local_ids({.sequences = kSequences,
                          .length = length,
                          .stride = kStride,
                          .out_stride = kLength,
                          .first = rank * kVocab,
                          .vocab = kVocab,
                          .ids = ids_d.get() + begin,
                          .out = out_d.get() + begin},
                         nullptr));
    std::vector<int32_t> want;
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t i = 0; i < kLength; ++i)
        want.push_back(static_cast<int32_t>(
            local_id(ids[static_cast<std::size_t>(s * kStride + i)], rank * kVocab, kVocab)));
    REQUIRE(out_d.download() == want);
    out_d.check_canaries();
  }
  launched(local_ids({.sequences = 0, .length = 8, .out_stride = 8, .vocab = 8}, nullptr));
  CHECK(local_ids({.sequences = 1, .length = 1, .out_stride = 1, .vocab = 8}, nullptr).error ==
        "local_ids: ids or out is null");
  CHECK(local_ids({.sequences = 1, .length = 2, .out_stride = 1, .vocab = 8}, nullptr).error ==
        "local_ids: out_stride is below length");
}

TEST_CASE("ids beyond the vocabulary give NaN and no gradient", "[gpu][embedding]") {
  const std::vector<bf16> ones = to_bf16(std::vector<double>(16, 1));
  const DeviceBuffer<int32_t> ids(std::vector<int32_t>{2, 1});
  const DeviceBuffer<bf16> table(ones), out(16);
  const DeviceBuffer<float> grad(std::vector<float>(16, 0));
  launched(embedding_forward(
      {.rows = 2, .cols = 8, .vocab = 2, .ids = ids.get(), .table = table.get(), .out = out.get()},
      nullptr));
  launched(embedding_backward(
      {.rows = 2, .cols = 8, .vocab = 2, .ids = ids.get(), .dx = table.get(), .grad = grad.get()},
      nullptr));
  const std::vector<double> got = to_double(out.download());
  const std::vector<float> gradient = grad.download();
  for (std::size_t c = 0; c < 8; ++c) {
    CHECK(std::isnan(got[c]));
    CHECK(got[8 + c] == 1);
    CHECK(gradient[c] == 0);
    CHECK(gradient[8 + c] == 1);
  }
  grad.check_canaries();
}

TEST_CASE("embedding names bad arguments", "[gpu][embedding]") {
  alignas(16) bf16 v[16];
  alignas(16) float grad[16];
  int32_t id = 0;
  CHECK(embedding_forward({.rows = 1, .cols = 9, .vocab = 1, .ids = &id, .table = v, .out = v},
                          nullptr)
            .error == "embedding_forward: cols is not a multiple of 8");
  CHECK(
      embedding_forward({.rows = 1, .cols = 8, .ids = &id, .table = v, .out = v}, nullptr).error ==
      "embedding_forward: vocab is not positive");
  CHECK(embedding_backward({.rows = 1, .cols = 8, .vocab = 1, .dx = v, .grad = grad}, nullptr)
            .error == "embedding_backward: ids, dx or grad is null");
  CHECK(embedding_backward(
            {.rows = 1, .cols = 8, .vocab = 1, .ids = &id, .dx = v, .grad = grad + 1}, nullptr)
            .error == "embedding_backward: dx or grad is not 16-byte aligned");
}
