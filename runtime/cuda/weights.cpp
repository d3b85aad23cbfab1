#include "runtime/cuda/weights.h"

#include <algorithm>

#include "kernels/init/initial_weights.h"
#include "kernels/quant/cast.h"
#include "runtime/model/decay.h"
#include "runtime/model/param_init.h"

namespace orrery {
namespace {

std::size_t bytes(int64_t n) { return static_cast<std::size_t>(n); }

int64_t blocks(const Param& p) {
  return p.groups * kernels::tiles(p.rows / p.groups) * kernels::tiles(p.cols);
}

// Shard `index` of one of the parameter's matrices.
kernels::WeightShard shard_of(const Param& p, int64_t index) {
  if (p.shard.axis == ShardAxis::kNone) return {};
  const bool rows = p.shard.axis == ShardAxis::kRows;
  const int64_t split = rows ? p.rows / p.groups : p.cols, each = rows ? p.cols : 1;
  const int64_t first = p.shard.first == 0 ? split : p.shard.first;
  return {p.shard.ways, index, split * each, first * each};
}

template <class T>
void upload(const DeviceArray& to, const std::vector<T>& from) {
  if (from.empty()) return;
  copy_to_device(to.as<T>(), from.data(), from.size() * sizeof(T), "copying weights to the device");
}

}  // namespace

CudaWeights::CudaWeights(const ExecPlan& plan, const PlanSpec& spec, int64_t rank,
                         bool keep_gradients)
    : plan_(plan),
      layout_(plan, rank),
      fp8_(spec.precision == Precision::kFp8),
      bf16_moments_(spec.moments == MomentDtype::kBf16),
      host_buffers_(static_cast<std::size_t>(layout_.buffer_elements() + 1)) {
  for (const OptimizerShare& s : layout_.rank_class().shares) {
    const int i = static_cast<int>(shares_.size());
    Share share;
    share.spec = &s;
    share.begin = layout_.owned(i).begin;
    share.owned = layout_.owned(i).elements;
    if (!fp8_) share.weights = DeviceArray(bytes(2 * s.elements));
    share.grads = DeviceArray(bytes(4 * s.elements));
    const bool on_host = spec.dp.offload_optimizer;
    share.master = StateArray(bytes(4 * share.owned), on_host);
    for (int m = 0; m < (s.muon() ? 1 : 2); ++m)
      share.moments[m] = StateArray(bytes((bf16_moments_ ? 2 : 4) * share.owned), on_host);
    if (keep_gradients) share.kept_gradients = DeviceArray(bytes(4 * share.owned));
    const auto flags = decay_chunks(plan.stages[static_cast<std::size_t>(s.stage)], s);
    share.decay = DeviceArray(flags.size());
    upload(share.decay, flags);
    shares_.push_back(std::move(share));
    place_copies(shares_.size() - 1);
  }
  buffers_ = DeviceArray(bytes(4 * std::max<int64_t>(1, layout_.buffer_elements())));
}

// In BF16 the kernels read the flat array itself.
void CudaWeights::place_copies(std::size_t share) {
  const Share& s = shares_[share];
  const StageGraph& g = plan_.stages[static_cast<std::size_t>(s.spec->stage)];
  copies_.emplace_back();
  for (std::size_t i = 0; i < s.spec->params.size(); ++i) {
    const Param& p = g.params[s.spec->params[i].v];
    KernelWeight w;
    if (!fp8_) {
      w.bf16 = s.weights.as<kernels::bf16>() + s.spec->offsets[i];
    } else if (p.dtype == Dtype::kFp8Block) {
      const int64_t data = (p.count() + 15) / 16 * 16;
      copy_memory_.emplace_back(bytes(data + 4 * blocks(p)));
      w.fp8 = copy_memory_.back().as<kernels::fp8>();
      w.scales = reinterpret_cast<float*>(copy_memory_.back().as<char>() + data);
    } else {
      copy_memory_.emplace_back(bytes(2 * p.count()));
      w.bf16 = copy_memory_.back().as<kernels::bf16>();
    }
    copies_.back().push_back(w);
  }
}

KernelWeight CudaWeights::kernel_weight(int stage, ParamId id) const {
  const ParamPlace& at = layout_.find(stage, id);
  KernelWeight w;
  if (at.share < 0) {
    w.f32 = buffers() + at.offset;
    return w;
  }
  const auto share = static_cast<std::size_t>(at.share);
  const auto& offsets = shares_[share].spec->offsets;
  const auto i = std::lower_bound(offsets.begin(), offsets.end(), at.offset) - offsets.begin();
  return copies_[share][static_cast<std::size_t>(i)];
}

float* CudaWeights::gradient(int stage, ParamId id) const {
  const ParamPlace& at = layout_.find(stage, id);
  if (at.share < 0) return nullptr;
  return shares_[static_cast<std::size_t>(at.share)].grads.as<float>() + at.offset;
}

int64_t CudaWeights::static_bytes() const {
  std::size_t n = buffers_.bytes();
  for (const Share& s : shares_)
    n += s.weights.bytes() + s.grads.bytes() + s.master.device_bytes() +
         s.moments[0].device_bytes() + s.moments[1].device_bytes() + s.decay.bytes() +
         s.kept_gradients.bytes();
  for (const DeviceArray& a : copy_memory_) n += a.bytes();
  return static_cast<int64_t>(n);
}

void CudaWeights::cast(int share, const kernels::bf16* gathered, cudaStream_t stream) {
  if (!fp8_) return;
  const auto at = static_cast<std::size_t>(share);
  const std::vector<int64_t>& offsets = shares_[at].spec->offsets;
  for (std::size_t i = 0; i < offsets.size(); ++i) cast_param(at, i, gathered + offsets[i], stream);
}

void CudaWeights::cast_param(std::size_t share, std::size_t param, const kernels::bf16* from,
                             cudaStream_t stream) {
  const OptimizerShare& s = *shares_[share].spec;
  const Param& p = plan_.stages[static_cast<std::size_t>(s.stage)].params[s.params[param].v];
  const KernelWeight& w = copies_[share][param];
  if (w.fp8 == nullptr) {
    cuda_check(
        cudaMemcpyAsync(w.bf16, from, bytes(2 * p.count()), cudaMemcpyDeviceToDevice, stream),
        "copying weights");
    return;
  }
  const int64_t rows = p.rows / p.groups;
  launch_check(kernels::cast_block({.batch = p.groups,
                                    .rows = rows,
                                    .cols = p.cols,
                                    .x = from,
                                    .out = {w.fp8, w.scales, rows, p.cols}},
                                   stream));
}

void CudaWeights::initialise(uint64_t seed, double sigma) {
  for (std::size_t i = 0; i < shares_.size(); ++i) initialise_share(shares_[i], i, seed, sigma);
}

// With FP8 weights, BF16 ones exist for one parameter at a time.
void CudaWeights::initialise_share(Share& s, std::size_t share, uint64_t seed, double sigma) {
  const OptimizerShare& spec = *s.spec;
  const StageGraph& g = plan_.stages[static_cast<std::size_t>(spec.stage)];
  int64_t largest = 0;
  for (ParamId id : spec.params) largest = std::max(largest, g.params[id.v].count());
  const DeviceArray one(fp8_ ? bytes(2 * largest) : 0, DeviceArray::Clear::kNo);
  for (std::size_t i = 0; i < spec.params.size(); ++i) {
    const Param& p = g.params[spec.params[i].v];
    const int64_t offset = spec.offsets[i];
    kernels::InitialWeightsParams init;
    init.groups = p.groups, init.each = p.count() / p.groups;
    init.shard = shard_of(p, layout_.shard(p));
    init.key = weight_key(p, seed);
    init.first_expert = p.expert ? layout_.first_expert(p.groups) : 0;
    init.random = p.init == ParamInit::kNormal;
    init.sigma = sigma;
    init.constant = p.init == ParamInit::kOnes ? 1.0F : 0.0F;
    init.out = fp8_ ? one.as<kernels::bf16>() : s.weights.as<kernels::bf16>() + offset;
    init.master_begin = std::clamp<int64_t>(s.begin - offset, 0, p.count());
    init.master_end = std::clamp<int64_t>(s.begin + s.owned - offset, 0, p.count());
    // In host memory too: page-locked memory has its address on the device.
    init.master = reinterpret_cast<float*>(s.master.data()) + offset + init.master_begin - s.begin;
    launch_check(kernels::initial_weights(init, nullptr));
    if (fp8_) cast_param(share, i, one.as<kernels::bf16>(), nullptr);
  }
  cuda_check(cudaDeviceSynchronize(), "making initial weights");
}

void CudaWeights::set(int share, std::span<const float> values) {
  Share& s = shares_[static_cast<std::size_t>(share)];
  std::vector<kernels::bf16> rounded(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) rounded[i] = __float2bfloat16(values[i]);
  const std::vector<float> owned(values.begin() + s.begin, values.begin() + s.begin + s.owned);
  if (!owned.empty()) s.master.write(owned.data(), "copying master weights");
  if (!fp8_) {
    upload(s.weights, rounded);
    return;
  }
  DeviceArray temporary(rounded.size() * sizeof(kernels::bf16));
  upload(temporary, rounded);
  cast(share, temporary.as<kernels::bf16>(), nullptr);
  cuda_check(cudaDeviceSynchronize(), "casting weights");
}

std::vector<kernels::bf16> CudaWeights::rounded_master(int share) const {
  const StateArray& master = shares_[static_cast<std::size_t>(share)].master;
  std::vector<float> values(master.bytes() / sizeof(float));
  if (!values.empty()) master.read(values.data(), "reading master weights");
  std::vector<kernels::bf16> rounded(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) rounded[i] = __float2bfloat16(values[i]);
  return rounded;
}

}  // namespace orrery
