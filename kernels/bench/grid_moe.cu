#include "kernels/bench/grid_points.cuh"
#include "kernels/moe/permute.h"
#include "kernels/moe/router.h"

namespace orrery::kernels::bench {
namespace {

// Tokens to 8 rows each and back; a token's rows lie apart, as those of different experts do.
std::vector<GridPoint> permutations(int64_t tokens, int64_t cols) {
  constexpr int64_t kTopK = 8;
  const int64_t slots = tokens * kTopK;
  const int count = sets(2.0 * static_cast<double>((tokens + slots) * cols));
  const Turns<bf16> x(tokens * cols, count), y(slots * cols, count);
  const Buffer<float> weights(slots);
  const Buffer<int32_t> slot_of(slots), row_of(slots);
  std::vector<int32_t> to(static_cast<std::size_t>(slots)), from(to.size());
  for (int64_t r = 0; r < slots; ++r) {
    const int64_t slot = r % tokens * kTopK + r / tokens;
    to[static_cast<std::size_t>(r)] = static_cast<int32_t>(slot);
    from[static_cast<std::size_t>(slot)] = static_cast<int32_t>(r);
  }
  const std::size_t size = to.size() * sizeof(int32_t);
  need(cudaMemcpy(slot_of.get(), to.data(), size, cudaMemcpyHostToDevice));
  need(cudaMemcpy(row_of.get(), from.data(), size, cudaMemcpyHostToDevice));
  PermuteParams p;
  p.capacity = slots, p.cols = cols, p.k = kTopK, p.row_slot = slot_of.get();
  UnpermuteParams u;
  u.arrived = tokens, u.cols = cols, u.k = kTopK, u.slot_row = row_of.get();
  u.weights = weights.get();
  const double bytes = 2.0 * static_cast<double>((tokens + slots) * cols);
  std::vector<GridPoint> points;
  points.push_back(measured(point("permute", "gather", bytes), [&](int i, cudaStream_t s) {
    p.x = x[i], p.out = y[i];
    return permute(p, s);
  }));
  points.push_back(measured(point("unpermute", "gather", bytes), [&](int i, cudaStream_t s) {
    u.y = y[i], u.out = x[i];
    return unpermute(u, s);
  }));
  return points;
}

// Gradients of DeepSeek-V3's choice: 8 of 256 experts, of 4 of 8 groups. The choice itself is left
// out: it is no memory-bound kernel.
std::vector<GridPoint> router_gradients(int64_t tokens) {
  RouterParams p;
  p.config.experts = 256, p.config.k = 8, p.config.groups = 8, p.config.top_groups = 4;
  p.tokens = tokens;
  const int64_t n = tokens * p.config.experts, words = kRoutingWords * p.config.k;
  const Buffer<float> bias(p.config.experts), weights(tokens * p.config.k);
  const int count = sets(6.0 * static_cast<double>(n));
  const Turns<float> logits(n, count);
  const Turns<int32_t> routing(tokens * words, count);
  const Turns<bf16> dlogits(n, count);
  p.bias = bias.get();
  RouterBackwardParams b;
  b.config = p.config, b.tokens = tokens, b.dweights = weights.get();
  const double backward =
      6.0 * static_cast<double>(n) + 4.0 * static_cast<double>(tokens * (words + p.config.k));
  // The backward of a buffer that the forward has not filled would read ids of no expert.
  for (int i = 0; i < count; ++i) {
    p.logits = logits[i], p.routing = routing[i];
    need(router(p, nullptr));
  }
  return {measured(own_point("router_backward", "stream", backward), [&](int i, cudaStream_t s) {
    b.logits = logits[i], b.routing = routing[i], b.dlogits = dlogits[i];
    return router_backward(b, s);
  })};
}

}  // namespace

std::vector<GridTask> moe_grid() {
  std::vector<GridTask> tasks;
  for (const int64_t cols : {2560, 7168})
    for (const int64_t tokens : {512, 1024, 2048, 4096, 8192})
      tasks.push_back({"permutations", [=] { return permutations(tokens, cols); }});
  for (const int64_t tokens : {512, 2048, 8192, 16384, 32768})
    tasks.push_back({"router gradients", [=] { return router_gradients(tokens); }});
  return tasks;
}

}  // namespace orrery::kernels::bench
