#include <algorithm>
#include <random>
#include <stdexcept>
#include <vector>

#include "kernels/moe/dispatch_reference.h"
#include "kernels/moe/layout_reference.h"
#include "kernels/moe/permute_reference.h"
#include "tests/catch.h"

namespace orrery::kernels {
namespace {

using Values = std::vector<double>;
using Words = std::vector<int32_t>;

std::size_t z(int64_t n) { return static_cast<std::size_t>(n); }

struct Random {
  uint64_t seed = std::random_device{}();
  std::mt19937_64 engine{seed};
  Values normal(int64_t n) {
    std::normal_distribution<double> d;
    Values v(z(n));
    for (double& x : v) x = d(engine);
    return v;
  }
  int64_t below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(engine); }
  // Routing of `tokens` tokens, each to k distinct experts, with weights in (0, 1).
  Words routing(int64_t tokens, int64_t experts, int64_t k) {
    Words order(z(experts)), out(z(tokens * kRoutingWords * k));
    for (int64_t e = 0; e < experts; ++e) order[z(e)] = static_cast<int32_t>(e);
    std::uniform_real_distribution<float> weight(0.1f, 1);
    for (int64_t t = 0; t < tokens; ++t) {
      std::shuffle(order.begin(), order.end(), engine);
      int32_t* words = out.data() + t * kRoutingWords * k;
      for (int64_t j = 0; j < k; ++j) {
        words[j] = order[z(j)];
        words[k + j] = float_to_word(weight(engine));
      }
    }
    return out;
  }
};

}  // namespace

TEST_CASE("Rows of an expert keep the order of arrival and groups are padded", "[moe]") {
  // Three rows with k = 2; experts 4 to 6 are local, and none chose 5.
  const auto word = [](float x) { return float_to_word(x); };
  const Words routing = {6, 4, word(0.1f), word(0.2f), 9, 6, word(0.3f), word(0.4f),
                         4, 3, word(0.5f), word(0.6f), 7, 7, word(9.0f), word(9.0f)};
  const Values weights = {0.01, 0.02, 0.03, 0.04, 0.05, 0.06};
  Words buffer(z(expert_layout_ints(3, 2, 3, 12)), 99);
  const ExpertLayout v = expert_layout_view(buffer.data(), 3, 2, 3, 12);
  Values row_weight(12);
  expert_layout_reference(3, 2, 3, 4, 12, routing.data(), 4, 4, weights.data(), v,
                          row_weight.data());
  CHECK(Words(v.offsets, v.offsets + 4) == Words{0, 4, 4, 8});
  CHECK(Words(v.row_slot, v.row_slot + 12) == Words{1, 4, -1, -1, 0, 3, -1, -1, -1, -1, -1, -1});
  CHECK(Words(v.slot_row, v.slot_row + 6) == Words{4, 0, -1, 5, 1, -1});
  CHECK(std::vector<float>(v.row_weight, v.row_weight + 12) ==
        std::vector<float>{0.2f, 0.5f, 0, 0, 0.1f, 0.4f, 0, 0, 0, 0, 0, 0});
  CHECK(row_weight == Values{0.02, 0.05, 0, 0, 0.01, 0.04, 0, 0, 0, 0, 0, 0});
  CHECK(reinterpret_cast<int32_t*>(v.row_weight + 12) == buffer.data() + buffer.size());
  const auto with_capacity = [&](int64_t capacity) {
    expert_layout_reference<double>(3, 2, 3, 4, capacity, routing.data(), 4, 4, nullptr, v,
                                    nullptr);
  };
  CHECK_THROWS_AS(with_capacity(7), std::length_error);
  CHECK_NOTHROW(with_capacity(8));
}

TEST_CASE("The general capacity suffices for any routing, and for some is exact", "[moe]") {
  Random random;
  INFO("seed " << random.seed);
  for (int trial = 0; trial < 50; ++trial) {
    const int64_t experts = 4 + random.below(8), local = 1 + random.below(experts), k = 3;
    const int64_t arrived = random.below(9), align = 1 + random.below(8);
    const int64_t capacity = expert_layout_capacity(arrived, k, local, align);
    const Words routing = random.routing(arrived, experts, k);
    Words buffer(z(expert_layout_ints(arrived, k, local, capacity)));
    CHECK_NOTHROW(expert_layout_reference<double>(
        arrived, k, local, align, capacity, routing.data(), kRoutingWords * k, 0, nullptr,
        expert_layout_view(buffer.data(), arrived, k, local, capacity), nullptr));
  }
  CHECK(expert_layout_capacity(1, 2, 8, 128) == 256);
  CHECK(expert_layout_capacity(0, 2, 8, 128) == 0);
  CHECK(expert_layout_capacity(5, 2, 8, 1) == 10);
}

TEST_CASE("A token is sent once to each rank of its experts", "[moe]") {
  // Two ranks with two experts each; three tokens, k = 2.
  Words routing(3 * 6, 0);
  const Words ids = {3, 2, 1, 2, 0, 1};
  for (std::size_t t = 0; t < 3; ++t)
    for (std::size_t j = 0; j < 2; ++j) {
      routing[t * 6 + j] = ids[t * 2 + j];
      routing[t * 6 + 2 + j] = static_cast<int32_t>(10 * t + j + 1);
    }
  Words buffer(z(dispatch_layout_ints(3, 2, 2, 2)), 99);
  const DispatchLayout v = dispatch_layout_view(buffer.data(), 3, 2, 2, 2);
  dispatch_layout_reference(3, 2, 2, 2, routing.data(), v);
  // Rank 0: tokens 1 and 2; rank 1: tokens 0 and 1.
  CHECK(buffer == Words{0, 2, 4,             // send_rows
                        1, 2, 2, 1,          // send_expert_rows
                        1, 2, 0, 1, -1, -1,  // send_token
                        2, -1, 0, 3, 1, -1});
  Words packed(4 * 4);
  pack_routing_reference(2, 2, 2, routing.data(), v, packed.data());
  CHECK(packed == Words{1, -1, 11, 0, 0, 1, 21, 22, 1, 0, 1, 2, -1, 0, 0, 12});
}

// Dispatch over ranks, expert e multiplying its rows by (e + 1), and combine: must be the weighted
// sum over each token's experts.
TEST_CASE("Dispatch, layout, permute and back compute the mixture", "[moe]") {
  Random random;
  INFO("seed " << random.seed);
  for (const int64_t ranks : {1, 3, 4}) {
    const int64_t tokens = 11, k = 5, local = 12 / ranks, cols = 3, experts = 12;
    CAPTURE(ranks);
    const Words routing = random.routing(tokens, experts, k);
    const Values x = random.normal(tokens * cols), addend = random.normal(tokens * cols);
    Words buffer(z(dispatch_layout_ints(tokens, k, ranks, local)));
    const DispatchLayout d = dispatch_layout_view(buffer.data(), tokens, k, ranks, local);
    dispatch_layout_reference(tokens, k, ranks, local, routing.data(), d);
    const int64_t sent = d.send_rows[ranks];
    Values send(z(sent * cols)), returned(z(sent * cols)), weight_grads(z(sent * k), -1);
    Words packed(z(sent * kArrivedRoutingWords * k));
    pack_rows_reference(sent, cols, d.send_token, x.data(), send.data());
    pack_routing_reference(k, ranks, local, routing.data(), d, packed.data());
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const int64_t first = d.send_rows[rank], arrived = d.send_rows[rank + 1] - first;
      const int64_t capacity = expert_layout_capacity(arrived, k, local, 4);
      Words words(z(expert_layout_ints(arrived, k, local, capacity)));
      const ExpertLayout e = expert_layout_view(words.data(), arrived, k, local, capacity);
      expert_layout_reference<double>(arrived, k, local, 4, capacity,
                                      packed.data() + first * kArrivedRoutingWords * k,
                                      kArrivedRoutingWords * k, 0, nullptr, e, nullptr);
      Values rows(z(capacity * cols), -7);
      permute_reference(capacity, cols, k, e.row_slot, send.data() + first * cols, rows.data());
      for (int64_t i = 0; i < local; ++i) {
        const double expert = static_cast<double>(rank * local + i + 1);
        for (int64_t r = e.offsets[i]; r < e.offsets[i + 1]; ++r) {
          for (int64_t c = 0; c < cols; ++c) rows[z(r * cols + c)] *= expert;
          if (e.row_slot[r] >= 0) weight_grads[z(first * k + e.row_slot[r])] = expert;
        }
      }
      const Values weights(e.row_weight, e.row_weight + capacity);
      unpermute_reference(arrived, cols, k, e.slot_row, weights.data(), rows.data(),
                          returned.data() + first * cols);
    }
    Values out(z(tokens * cols)), dweights(z(tokens * k));
    combine_rows_reference(tokens, cols, k, d.slot_of, returned.data(), addend.data(), out.data());
    combine_weights_reference(tokens, k, local, routing.data(), d, weight_grads.data(),
                              dweights.data());
    for (int64_t t = 0; t < tokens; ++t) {
      const int32_t* of_token = routing.data() + t * kRoutingWords * k;
      double factor = 0;
      for (int64_t j = 0; j < k; ++j) {
        factor += (of_token[j] + 1) * static_cast<double>(word_to_float(of_token[k + j]));
        CHECK(dweights[z(t * k + j)] == of_token[j] + 1);
      }
      for (int64_t c = 0; c < cols; ++c)
        CHECK(out[z(t * cols + c)] ==
              Approx(addend[z(t * cols + c)] + factor * x[z(t * cols + c)]).margin(1e-12));
    }
  }
}

}  // namespace orrery::kernels
