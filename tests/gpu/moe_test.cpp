#include "tests/gpu/moe.h"

#include <algorithm>
#include <cmath>

#include "kernels/moe/layout.h"
#include "kernels/moe/layout_reference.h"
#include "kernels/moe/permute.h"
#include "kernels/moe/permute_reference.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/same_bits.h"

using namespace orrery::gpu_test;
using namespace orrery::kernels;

namespace {

enum class Ids { kRandom, kOneExpert, kFewExperts, kNoneLocal };

struct Case {
  int64_t arrived, k, local_experts, first_expert, align;
  Ids ids = Ids::kRandom;
  int64_t arrived_rows = -1;  // given on the device when not negative
};
const Case kCases[] = {
    {1, 8, 4, 0, 128},
    {1000, 8, 256, 0, 128},  // a rank with all experts
    {1001, 8, 32, 64, 128},
    {333, 2, 8, 0, 1},
    {77, 3, 5, 1, 16},
    {5000, 1, 4, 0, 128, Ids::kOneExpert},
    {700, 4, 40, 0, 128, Ids::kFewExperts},
    {65, 4, 8, 0, 128, Ids::kNoneLocal},
    {40000, 8, 8, 8, 128},  // ranges longer than the shortest
    {3000, 32, 1024, 0, 1},
    {0, 8, 4, 0, 128},
    {500, 8, 16, 0, 128, Ids::kRandom, 301},
    {500, 8, 16, 0, 128, Ids::kRandom, 0},
    {64, 8, 16, 0, 128, Ids::kRandom, 64},
};

// Rows of distinct ids around the local ones, -1 among them, and weights.
Words random_arrived(Random& random, const Case& s, int64_t ld) {
  Words ids;
  for (int64_t e = -2; e < std::max<int64_t>(s.local_experts + 2, s.k); ++e)
    ids.push_back(static_cast<int32_t>(e + s.first_expert));
  Words routing(z(s.arrived * ld), 1 << 30);
  for (int64_t a = 0; a < s.arrived; ++a) {
    std::shuffle(ids.begin(), ids.end(), random.engine);
    for (int64_t j = 0; j < s.k; ++j) {
      int32_t id = ids[z(j)];
      const int32_t local = static_cast<int32_t>(id - s.first_expert);
      if (s.ids == Ids::kOneExpert) id = static_cast<int32_t>(s.first_expert + s.local_experts - 1);
      if (s.ids == Ids::kFewExperts && local % 7 != 3) id = -1;
      if (s.ids == Ids::kNoneLocal) id = -1;
      routing[z(a * ld + j)] = id;
      routing[z(a * ld + s.k + j)] = random_weight(random);
    }
  }
  return routing;
}

struct Laid {
  Laid(const Case& s, int64_t rows)
      : capacity(rows),
        want(z(expert_layout_ints(s.arrived, s.k, s.local_experts, rows)), 99),
        view(expert_layout_view(want.data(), s.arrived, s.k, s.local_experts, rows)) {}
  int64_t capacity;
  Words want;
  ExpertLayout view;  // of want
};

// The reference's layout; of rows that did not arrive the ids are taken away first.
Laid reference_layout(const Case& s, Words routing, int64_t ld, int64_t spare) {
  if (s.arrived_rows >= 0)
    std::fill(routing.begin() + s.arrived_rows * ld, routing.end(), -1 - (1 << 30));
  Laid l(s, spare + expert_layout_capacity(s.arrived, s.k, s.local_experts, s.align));
  expert_layout_reference<double>(s.arrived, s.k, s.local_experts, s.align, l.capacity,
                                  routing.data(), ld, s.first_expert, nullptr, l.view, nullptr);
  return l;
}

void test_layout(const Case& s, int64_t words_per_choice) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE(s.arrived, s.k, s.local_experts, s.first_expert, s.align, static_cast<int>(s.ids));
  const int64_t ld = words_per_choice * s.k;
  const Words routing = random_arrived(random, s, ld);
  const Laid l = reference_layout(s, routing, ld, 5);
  const DeviceBuffer<int32_t> routing_d(routing);
  const DeviceBuffer<int32_t> count_d(Words{static_cast<int32_t>(s.arrived_rows)});
  DeviceBuffer<int32_t> layout_d(l.want.size());
  const int64_t bytes = expert_layout_workspace(s.arrived, s.k, s.local_experts);
  DeviceBuffer<char> workspace_d(z(bytes));
  const ExpertLayoutParams p{
      .arrived = s.arrived,
      .arrived_rows = s.arrived_rows >= 0 ? count_d.get() : nullptr,
      .k = s.k,
      .local_experts = s.local_experts,
      .align = s.align,
      .capacity = l.capacity,
      .routing = routing_d.get(),
      .ld_routing = ld,
      .first_expert = s.first_expert,
      .out = expert_layout_view(layout_d.get(), s.arrived, s.k, s.local_experts, l.capacity),
      .workspace = workspace_d.get(),
      .workspace_bytes = bytes};
  for (int launch = 0; launch < 2; ++launch) {
    launched(expert_layout(p, nullptr));
    REQUIRE(layout_d.download() == l.want);
  }
  layout_d.check_canaries();
  workspace_d.check_canaries();
}

void test_permute(const Case& s, int64_t cols) {
  Random random;
  INFO("seed " << random.seed);
  CAPTURE(s.arrived, s.k, s.local_experts, cols, static_cast<int>(s.ids));
  const int64_t ld = kArrivedRoutingWords * s.k;
  const Laid l = reference_layout(s, random_arrived(random, s, ld), ld, 3);
  const int64_t rows = l.view.offsets[s.local_experts];
  const Values x = random.normal_bf16(z(s.arrived * cols));
  Values want(z(l.capacity * cols));
  permute_reference(l.capacity, cols, s.k, l.view.row_slot, x.data(), want.data());
  const DeviceBuffer<int32_t> layout_d(l.want);
  const ExpertLayout view =
      expert_layout_view(layout_d.get(), s.arrived, s.k, s.local_experts, l.capacity);
  const DeviceBuffer<bf16> x_d(to_bf16(x));
  DeviceBuffer<bf16> out_d(want.size()), limited_d(want.size());
  PermuteParams p{.capacity = l.capacity,
                  .cols = cols,
                  .k = s.k,
                  .row_slot = view.row_slot,
                  .x = x_d.get(),
                  .out = out_d.get()};
  launched(permute(p, nullptr));
  REQUIRE(to_double(out_d.download()) == want);
  out_d.check_canaries();
  // With a row count on the device, rows after it are left alone.
  p.rows = view.offsets + s.local_experts;
  p.out = limited_d.get();
  const std::vector<bf16> untouched = limited_d.download();
  launched(permute(p, nullptr));
  std::vector<bf16> limited = to_bf16(want);
  std::copy(untouched.begin() + rows * cols, untouched.end(), limited.begin() + rows * cols);
  REQUIRE(same_bits(limited_d.download(), limited));

  Values y = random.normal_bf16(z(l.capacity * cols)), sums(x.size());
  const Values weights(l.view.row_weight, l.view.row_weight + l.capacity);
  const DeviceBuffer<bf16> y_d(to_bf16(y));
  for (const bool weighted : {true, false}) {
    DeviceBuffer<bf16> sums_d(sums.size());
    unpermute_reference(s.arrived, cols, s.k, l.view.slot_row, weighted ? weights.data() : nullptr,
                        y.data(), sums.data());
    const UnpermuteParams u{.arrived = s.arrived,
                            .cols = cols,
                            .k = s.k,
                            .slot_row = view.slot_row,
                            .weights = weighted ? view.row_weight : nullptr,
                            .y = y_d.get(),
                            .out = sums_d.get()};
    launched(unpermute(u, nullptr));
    const std::vector<bf16> got = sums_d.download();
    // Absolute: FP32 sums of at most 32 terms of order 4.
    require_close(to_double(got), sums, 1.01 * kBf16Eps, 3e-5);
    sums_d.check_canaries();
    launched(unpermute(u, nullptr));
    REQUIRE(same_bits(sums_d.download(), got));
  }
}

}  // namespace

TEST_CASE("GPU: rows of experts are laid out as the reference does", "[gpu][moe]") {
  for (const Case& s : kCases)
    for (const int64_t words : {kArrivedRoutingWords, kRoutingWords}) test_layout(s, words);
}

TEST_CASE("GPU: permute copies rows and unpermute sums them", "[gpu][moe]") {
  for (const Case& s : kCases)
    for (const int64_t cols : {8, 136, 1024})
      if (s.arrived <= 1001 && s.arrived * cols <= 600000) test_permute(s, cols);
}

TEST_CASE("GPU: permute moves FP8 rows with their scales", "[gpu][moe]") {
  for (const int64_t cols : {16, 272, 7168})
    for (const bool tile_major : {false, true}) {
      Random random;
      INFO("seed " << random.seed);
      CAPTURE(cols, tile_major);
      const Case s{45, 4, 6, 0, 16};
      const int64_t ld = kArrivedRoutingWords * s.k;
      const Laid l = reference_layout(s, random_arrived(random, s, ld), ld, 1);
      const DeviceBuffer<int32_t> row_slot_d(Words(l.view.row_slot, l.view.row_slot + l.capacity));
      Fp8Rows x(s.arrived, cols, !tile_major), out(l.capacity, cols, tile_major);
      x.randomize(random);
      launched(permute({.capacity = l.capacity,
                        .cols = cols,
                        .k = s.k,
                        .row_slot = row_slot_d.get(),
                        .x8 = x.view,
                        .out8 = out.view},
                       nullptr));
      check_gathered(x, out, l.capacity, [&](int64_t r) -> int64_t {
        return l.view.row_slot[r] < 0 ? -1 : l.view.row_slot[r] / s.k;
      });
    }
}

TEST_CASE("GPU: layout and permutation replay in a CUDA graph with other routing", "[gpu][moe]") {
  Random random;
  INFO("seed " << random.seed);
  const Case s{200, 4, 8, 0, 128};
  const int64_t ld = kArrivedRoutingWords * s.k, cols = 64;
  const int64_t capacity = expert_layout_capacity(s.arrived, s.k, s.local_experts, s.align);
  const int64_t bytes = expert_layout_workspace(s.arrived, s.k, s.local_experts);
  DeviceBuffer<int32_t> routing_d(z(s.arrived * ld));
  DeviceBuffer<int32_t> layout_d(z(expert_layout_ints(s.arrived, s.k, s.local_experts, capacity)));
  DeviceBuffer<char> workspace_d(z(bytes));
  const Values x = random.normal_bf16(z(s.arrived * cols));
  const DeviceBuffer<bf16> x_d(to_bf16(x));
  DeviceBuffer<bf16> out_d(z(capacity * cols));
  const ExpertLayout view =
      expert_layout_view(layout_d.get(), s.arrived, s.k, s.local_experts, capacity);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cuda_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cuda_ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  const Status laid = expert_layout({.arrived = s.arrived,
                                     .k = s.k,
                                     .local_experts = s.local_experts,
                                     .align = s.align,
                                     .capacity = capacity,
                                     .routing = routing_d.get(),
                                     .ld_routing = ld,
                                     .out = view,
                                     .workspace = workspace_d.get(),
                                     .workspace_bytes = bytes},
                                    stream);
  const Status permuted = permute({.capacity = capacity,
                                   .cols = cols,
                                   .k = s.k,
                                   .row_slot = view.row_slot,
                                   .x = x_d.get(),
                                   .out = out_d.get()},
                                  stream);
  cuda_ok(cudaStreamEndCapture(stream, &graph));
  launched(laid);
  launched(permuted);
  cuda_ok(cudaGraphInstantiate(&executable, graph, 0));
  for (int replay = 0; replay < 3; ++replay) {
    const Words routing = random_arrived(random, s, ld);
    routing_d.upload(routing);
    cuda_ok(cudaDeviceSynchronize());  // the copy is not ordered with the stream
    cuda_ok(cudaGraphLaunch(executable, stream));
    const Laid l = reference_layout(s, routing, ld, 0);
    REQUIRE(layout_d.download() == l.want);
    Values want(z(capacity * cols));
    permute_reference(capacity, cols, s.k, l.view.row_slot, x.data(), want.data());
    REQUIRE(to_double(out_d.download()) == want);
  }
  cuda_ok(cudaGraphExecDestroy(executable));
  cuda_ok(cudaGraphDestroy(graph));
  cuda_ok(cudaStreamDestroy(stream));
}

TEST_CASE("GPU: layout and permutation name a bad argument", "[gpu][moe]") {
  DeviceBuffer<int32_t> words(64);
  DeviceBuffer<bf16> rows(64);
  ExpertLayoutParams p{.arrived = 1, .k = 2, .local_experts = 4, .align = 8, .capacity = 16};
  p.routing = words.get();
  p.ld_routing = 3;
  REQUIRE(expert_layout(p, nullptr).error == "expert_layout: ld_routing is below 2k");
  p.ld_routing = 4;
  REQUIRE(expert_layout(p, nullptr).error == "expert_layout: out.offsets is null");
  p.out = expert_layout_view(words.get(), 1, 2, 4, 16);
  p.workspace = words.get();
  REQUIRE(expert_layout(p, nullptr).error ==
          "expert_layout: workspace_bytes is below expert_layout_workspace()");
  PermuteParams m{.capacity = 1, .cols = 12, .k = 2, .row_slot = words.get()};
  REQUIRE(permute(m, nullptr).error == "permute: cols is not a multiple of 8");
  m.cols = 8;
  m.x = rows.get() + 1;
  m.out = rows.get();
  REQUIRE(permute(m, nullptr).error == "permute: x or out is not 16-byte aligned");
  m.x = nullptr;
  REQUIRE(permute(m, nullptr).error == "permute: x is null, or of another type than out");
  REQUIRE(unpermute({.arrived = 1, .cols = 8, .k = 40}, nullptr).error ==
          "unpermute: k is not within 1 to 32");
}
