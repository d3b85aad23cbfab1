#include <cmath>

#include "kernels/base/launch.h"
#include "kernels/base/reduce.cuh"
#include "kernels/moe/expert_count.cuh"
#include "kernels/moe/router.h"

namespace orrery::kernels {
namespace {

constexpr int kWarps = 4;  // tokens of a block
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// Highest logit and sum of exp(logit - highest); every lane gets both.
__device__ float2 softmax_terms(const float* logits, int experts) {
  const int lane = threadIdx.x % 32;
  float highest = -INFINITY, sum = 0;
  for (int e = lane; e < experts; e += 32) highest = fmaxf(highest, logits[e]);
  highest = warp_reduce(highest, Max{});
  for (int e = lane; e < experts; e += 32) sum += expf(logits[e] - highest);
  return {highest, warp_reduce(sum, Sum{})};
}

// Unsigned integers in the order of the floats; 0, below all others, for NaN: a value that cannot
// be taken (any more).
__device__ uint32_t order_key(float x) {
  if (isnan(x)) return 0;
  const uint32_t bits = __float_as_uint(x);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ float comparable(float x) { return isnan(x) ? -INFINITY : x; }

// Index of the highest of n values, ties to the lower index, which becomes NaN. All lanes call it.
__device__ int take_best(int n, float* values) {
  const int lane = threadIdx.x % 32;
  uint32_t key = 0, index = 0xffffffffu;
  for (int i = lane; i < n; i += 32) {
    const uint32_t of_i = order_key(values[i]);
    if (of_i > key) key = of_i, index = static_cast<uint32_t>(i);
  }
  const uint32_t highest = __reduce_max_sync(kAllLanes, key);
  const int best = static_cast<int>(__reduce_min_sync(kAllLanes, key == highest ? index : ~0u));
  __syncwarp();  // all lanes have read the values
  if (lane == 0) values[best] = NAN;
  __syncwarp();
  return best;
}

__device__ float group_score(const float* choice, int size, bool best_only) {
  float first = -INFINITY, second = -INFINITY;
  for (int i = 0; i < size; ++i) {
    // Lanes read different groups; starting at different members spreads them over the banks.
    const float x = choice[(i + threadIdx.x % 32) % size];
    second = fmaxf(second, fminf(first, x));
    first = fmaxf(first, x);
  }
  return best_only || size == 1 ? first : comparable(first + second);
}

// Makes NaN of the choice scores of experts outside the top_groups best groups.
__device__ void limit_groups(const RouterConfig& c, bool best_only, float* choice, float* group) {
  const int lane = threadIdx.x % 32;
  const int experts = static_cast<int>(c.experts), groups = static_cast<int>(c.groups);
  const int size = experts / groups;
  for (int g = lane; g < groups; g += 32)
    group[g] = group_score(choice + g * size, size, best_only);
  __syncwarp();
  for (int i = 0; i < c.top_groups; ++i) take_best(groups, group);
  // What was taken is NaN now.
  for (int e = lane; e < experts; e += 32)
    if (!isnan(group[e / size])) choice[e] = NAN;
  __syncwarp();
}

// A warp per token. Shared memory of a warp: scores and choice scores [experts], groups [groups].
__global__ void __launch_bounds__(kWarps * 32) router_kernel(RouterParams p) {
  extern __shared__ float shared[];
  const RouterConfig& c = p.config;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (token >= p.tokens) return;
  const int experts = static_cast<int>(c.experts), k = static_cast<int>(c.k);
  float* score = shared + warp * (2 * experts + static_cast<int>(c.groups));
  float* choice = score + experts;
  const float* logits = p.logits + token * experts;

  const bool softmax = c.score == RouterScore::kSoftmax;
  const float2 terms = softmax ? softmax_terms(logits, experts) : float2{};
  for (int e = lane; e < experts; e += 32) {
    const float s = softmax ? expf(logits[e] - terms.x) / terms.y : sigmoid(logits[e]);
    score[e] = s;
    choice[e] = comparable(p.bias != nullptr ? s + p.bias[e] : s);
  }
  __syncwarp();
  if (c.groups > 1) limit_groups(c, softmax && p.bias == nullptr, choice, choice + experts);

  int id = 0;  // lane j: the j-th choice
  for (int j = 0; j < k; ++j) {
    const int best = take_best(experts, choice);
    if (lane == j) id = best;
  }
  const float s = lane < k ? score[id] : 0.0f;
  const float sum = warp_reduce(s, Sum{}) + static_cast<float>(kNormalizeEps);
  if (lane >= k) return;
  int32_t* out = p.routing + token * kRoutingWords * k + lane;
  out[0] = id;
  out[k] = __float_as_int((c.normalize ? s / sum : s) * c.scale);
  out[2 * k] = __float_as_int(s);
}

// A warp per token.
__global__ void __launch_bounds__(kWarps * 32) backward_kernel(RouterBackwardParams p) {
  const RouterConfig& c = p.config;
  const int lane = threadIdx.x % 32;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (token >= p.tokens) return;
  const int experts = static_cast<int>(c.experts), k = static_cast<int>(c.k);
  const float* logits = p.logits + token * experts;
  bf16* dlogits = p.dlogits + token * experts;

  const bool softmax = c.score == RouterScore::kSoftmax, chosen = lane < k;
  const float2 terms = softmax ? softmax_terms(logits, experts) : float2{};
  const auto probability = [&](int e) { return expf(logits[e] - terms.x) / terms.y; };
  // Lane j: the j-th choice.
  const int id = chosen ? p.routing[token * kRoutingWords * k + lane] : 0;
  const float s = !chosen ? 0 : softmax ? probability(id) : sigmoid(logits[id]);
  const float dweight = chosen ? p.dweights[token * k + lane] : 0;
  float ds = dweight;
  if (c.normalize) {
    const float sum = warp_reduce(s, Sum{}) + static_cast<float>(kNormalizeEps);
    ds = (dweight - warp_reduce(dweight * s, Sum{}) / sum) / sum;
  }
  ds = chosen ? ds * c.scale : 0;
  const float dot = warp_reduce(ds * s, Sum{});
  for (int e = lane; e < experts; e += 32)
    dlogits[e] = __float2bfloat16_rn(softmax ? -dot * probability(e) : 0.0f);
  __syncwarp();  // the chosen ones are written after what another lane wrote there
  if (!chosen) return;
  // sigmoid(-x) is 1 - sigmoid(x) without cancellation.
  const float slope = softmax ? ds - dot : ds * sigmoid(-logits[id]);
  dlogits[id] = __float2bfloat16_rn(s * slope);
}

template <class Params>
Status check_tokens(const char* kernel, const Params& p) {
  if (Status bad = check_router(kernel, p.config); !bad.ok()) return bad;
  return check(kernel, {{p.tokens >= 0 && p.tokens <= INT32_MAX / kMaxTopK,
                         "tokens is not within 0 to 2^26"},
                        {p.tokens == 0 || (p.logits && p.routing), "logits or routing is null"}});
}

unsigned token_blocks(int64_t tokens) { return static_cast<unsigned>(ceil_div(tokens, kWarps)); }

}  // namespace

Status router(const RouterParams& p, cudaStream_t stream) {
  if (Status bad = check_tokens("router", p); !bad.ok() || p.tokens == 0) return bad;
  const RouterConfig& c = p.config;
  const std::size_t shared =
      static_cast<std::size_t>(kWarps * (2 * c.experts + c.groups)) * sizeof(float);
  router_kernel<<<token_blocks(p.tokens), kWarps * 32, shared, stream>>>(p);
  if (Status bad = launched("router"); !bad.ok() || p.load == nullptr) return bad;
  expert_count_kernel<true><<<expert_count_blocks(c.experts), kCountThreads, 0, stream>>>(
      static_cast<uint32_t>(p.tokens * c.k), static_cast<uint32_t>(c.k),
      static_cast<int32_t>(c.experts), p.routing, p.load);
  return launched("router");
}

Status router_backward(const RouterBackwardParams& p, cudaStream_t stream) {
  if (Status bad = check_tokens("router_backward", p); !bad.ok() || p.tokens == 0) return bad;
  if (p.dweights == nullptr || p.dlogits == nullptr)
    return failed("router_backward: dweights or dlogits is null");
  backward_kernel<<<token_blocks(p.tokens), kWarps * 32, 0, stream>>>(p);
  return launched("router_backward");
}

}  // namespace orrery::kernels
