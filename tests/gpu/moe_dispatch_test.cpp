#include <algorithm>
#include <numeric>

#include "kernels/moe/dispatch.h"
#include "kernels/moe/dispatch_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/moe.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

struct Case {
  int64_t tokens, k, ranks, local_experts;
  int64_t experts;  // that tokens choose from: the first ones, the others getting no token
};
const Case kCases[] = {
    {1, 8, 8, 32, 256},      {1000, 8, 8, 32, 256}, {333, 8, 1, 64, 64},
    {4097, 8, 64, 4, 256},   {700, 2, 4, 2, 5},  // the last rank gets nothing
    {700, 4, 4, 8, 8},                           // one rank gets all
    {999, 1, 5, 3, 1},                           // one expert gets all
    {40000, 8, 4, 16, 64},                       // ranges longer than the shortest
    {90, 32, 1024, 1, 1024}, {0, 4, 4, 2, 8},
};

Words random_routing(Random& random, const Case& s) {
  Words ids(z(s.experts)), routing(z(s.tokens * kRoutingWords * s.k));
  std::iota(ids.begin(), ids.end(), 0);
  for (int64_t t = 0; t < s.tokens; ++t) {
    std::shuffle(ids.begin(), ids.end(), random.engine);
    int32_t* words = routing.data() + t * kRoutingWords * s.k;
    std::copy(ids.begin(), ids.begin() + s.k, words);
    for (int64_t j = s.k; j < kRoutingWords * s.k; ++j) words[j] = random_weight(random);
  }
  return routing;
}

// Routing and its layout by the reference, on the host and on the device.
struct Dispatched {
  Dispatched(Random& random, const Case& s)
      : routing(random_routing(random, s)),
        layout(z(dispatch_layout_ints(s.tokens, s.k, s.ranks, s.local_experts)), 99),
        view(dispatch_layout_view(layout.data(), s.tokens, s.k, s.ranks, s.local_experts)),
        routing_d(routing),
        layout_d(layout.size()) {
    dispatch_layout_reference(s.tokens, s.k, s.ranks, s.local_experts, routing.data(), view);
    layout_d.upload(layout);
    view_d = dispatch_layout_view(layout_d.get(), s.tokens, s.k, s.ranks, s.local_experts);
    sent = view.send_rows[s.ranks];
    capacity = s.tokens * std::min(s.k, s.ranks);
  }
  Words routing, layout;
  DispatchLayout view, view_d;
  DeviceBuffer<int32_t> routing_d, layout_d;
  int64_t sent = 0, capacity = 0;
};

#define CAPTURE_CASE(s) CAPTURE(s.tokens, s.k, s.ranks, s.local_experts, s.experts)

void test_layout(const Case& s) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE_CASE(s);
  const Dispatched d(random, s);
  DeviceBuffer<int32_t> out_d(d.layout.size());
  const int64_t bytes = dispatch_layout_workspace(s.tokens, s.k, s.ranks);
  DeviceBuffer<char> workspace_d(z(bytes));
  for (int launch = 0; launch < 2; ++launch) {
    launched(dispatch_layout(
        {.tokens = s.tokens,
         .k = s.k,
         .ranks = s.ranks,
         .local_experts = s.local_experts,
         .routing = d.routing_d.get(),
         .out = dispatch_layout_view(out_d.get(), s.tokens, s.k, s.ranks, s.local_experts),
         .workspace = workspace_d.get(),
         .workspace_bytes = bytes},
        nullptr));
    REQUIRE(out_d.download() == d.layout);
  }
  out_d.check_canaries();
  workspace_d.check_canaries();
}

// What follows the sent rows must be untouched.
template <class T>
void require_sent(const DeviceBuffer<T>& got, std::vector<T> want) {
  const std::vector<T> untouched = DeviceBuffer<T>(got.size()).download();
  REQUIRE(want.size() <= got.size());
  want.insert(want.end(), untouched.begin() + static_cast<int64_t>(want.size()), untouched.end());
  REQUIRE(same_bits(got.download(), want));
  got.check_canaries();
}

void test_pack(const Case& s, int64_t cols) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE_CASE(s);
  CAPTURE(cols);
  const Dispatched d(random, s);
  const Values x = random.normal_bf16(z(s.tokens * cols));
  Values want(z(d.sent * cols));
  pack_rows_reference(d.sent, cols, d.view.send_token, x.data(), want.data());
  const DeviceBuffer<bf16> x_d(to_bf16(x));
  const DeviceBuffer<bf16> out_d(z(d.capacity * cols));
  const PackRowsParams p{.capacity = d.capacity,
                         .cols = cols,
                         .rows = d.view_d.send_rows + s.ranks,
                         .send_token = d.view_d.send_token,
                         .x = x_d.get(),
                         .out = out_d.get()};
  launched(pack_rows(p, nullptr));
  require_sent(out_d, to_bf16(want));

  Fp8Rows x8(s.tokens, cols, true);
  const Fp8Rows out8(d.capacity, cols, false);
  x8.randomize(random);
  launched(pack_rows({.capacity = d.capacity,
                      .cols = cols,
                      .rows = p.rows,
                      .send_token = p.send_token,
                      .x8 = x8.view,
                      .out8 = out8.view},
                     nullptr));
  check_gathered(x8, out8, d.sent, [&](int64_t r) -> int64_t { return d.view.send_token[r]; });

  Words packed(z(d.sent * kArrivedRoutingWords * s.k));
  pack_routing_reference(s.k, s.ranks, s.local_experts, d.routing.data(), d.view, packed.data());
  const DeviceBuffer<int32_t> packed_d(z(d.capacity * kArrivedRoutingWords * s.k));
  launched(pack_routing({.capacity = d.capacity,
                         .k = s.k,
                         .ranks = s.ranks,
                         .local_experts = s.local_experts,
                         .routing = d.routing_d.get(),
                         .send_rows = d.view_d.send_rows,
                         .send_token = d.view_d.send_token,
                         .out = packed_d.get()},
                        nullptr));
  require_sent(packed_d, packed);
}

void test_combine(const Case& s, int64_t cols) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE_CASE(s);
  CAPTURE(cols);
  const Dispatched d(random, s);
  const Values received = random.normal_bf16(z(d.sent * cols));
  const Values addend = random.normal_bf16(z(s.tokens * cols));
  Values want(addend.size());
  const DeviceBuffer<bf16> received_d(to_bf16(received)), addend_d(to_bf16(addend));
  for (const bool adds : {false, true}) {
    const DeviceBuffer<bf16> out_d(want.size());
    combine_rows_reference(s.tokens, cols, s.k, d.view.slot_of, received.data(),
                           adds ? addend.data() : nullptr, want.data());
    CombineRowsParams p{.tokens = s.tokens,
                        .cols = cols,
                        .k = s.k,
                        .slot_of = d.view_d.slot_of,
                        .received = received_d.get(),
                        .addend = adds ? addend_d.get() : nullptr,
                        .out = out_d.get()};
    launched(combine_rows(p, nullptr));
    const std::vector<bf16> got = out_d.download();
    // Absolute: FP32 sums of at most 33 terms of order 4.
    require_close(to_double(got), want, 1.01 * kBf16Eps, 3e-5);
    out_d.check_canaries();
    if (adds) p.out = addend_d.get();
    launched(combine_rows(p, nullptr));
    REQUIRE(same_bits(adds ? addend_d.download() : out_d.download(), got));
  }

  std::vector<float> grads(z(d.sent * s.k)), dweights(z(s.tokens * s.k));
  for (std::size_t i = 0; i < grads.size(); ++i) grads[i] = static_cast<float>(i);
  combine_weights_reference(s.tokens, s.k, s.local_experts, d.routing.data(), d.view, grads.data(),
                            dweights.data());
  const DeviceBuffer<float> grads_d(grads), dweights_d(dweights.size());
  launched(combine_weights({.tokens = s.tokens,
                            .k = s.k,
                            .ranks = s.ranks,
                            .local_experts = s.local_experts,
                            .routing = d.routing_d.get(),
                            .send_rows = d.view_d.send_rows,
                            .slot_of = d.view_d.slot_of,
                            .received = grads_d.get(),
                            .out = dweights_d.get()},
                           nullptr));
  REQUIRE(same_bits(dweights_d.download(), dweights));
  dweights_d.check_canaries();
}

}  // namespace

TEST_CASE("GPU: rows for each rank are laid out as the reference does", "[gpu][moe]") {
  for (const Case& s : kCases) test_layout(s);
}

TEST_CASE("GPU: rows and routing are packed for their ranks", "[gpu][moe]") {
  for (const Case& s : kCases)
    for (const int64_t cols : {16, 272})
      if (s.tokens < 10000) test_pack(s, cols);
}

TEST_CASE("GPU: combining sums the rows and picks the weights of each token", "[gpu][moe]") {
  for (const Case& s : kCases)
    for (const int64_t cols : {8, 264})
      if (s.tokens < 10000) test_combine(s, cols);
}

TEST_CASE("GPU: dispatch names a bad argument", "[gpu][moe]") {
  DispatchLayoutParams p{.tokens = 1, .k = 2, .ranks = 2, .local_experts = 1024};
  REQUIRE(dispatch_layout(p, nullptr).error ==
          "dispatch_layout: ranks · local_experts is not within 1 to 1024");
  p.local_experts = 4;
  REQUIRE(dispatch_layout(p, nullptr).error ==
          "dispatch_layout: out.send_rows or send_expert_rows is null");
  REQUIRE(pack_rows({.capacity = 1, .cols = 8}, nullptr).error == "pack_rows: rows is null");
  REQUIRE(pack_routing({.capacity = 1, .k = 1, .ranks = 1, .local_experts = 1}, nullptr).error ==
          "pack_routing: routing or send_rows is null");
  REQUIRE(combine_rows({.tokens = 1, .cols = 8, .k = 1}, nullptr).error ==
          "combine_rows: the row index is null");
  REQUIRE(combine_weights({.tokens = 1, .k = 1}, nullptr).error ==
          "combine_weights: ranks · local_experts is not within 1 to 1024");
}
