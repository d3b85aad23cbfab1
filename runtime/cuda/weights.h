// Weights, gradients and optimizer states of a rank on the device.
#pragma once

#include <span>
#include <vector>

#include "kernels/base/types.h"
#include "runtime/cuda/device.h"
#include "runtime/model/rank_layout.h"

namespace orrery {

// What the kernels of an op read of a parameter.
struct KernelWeight {
  kernels::bf16* bf16 = nullptr;
  kernels::fp8* fp8 = nullptr;
  float* scales = nullptr;  // of fp8, 128x128 blocks
  float* f32 = nullptr;     // a buffer's
};

constexpr int kMaxStatistics = 64;

class CudaWeights {
 public:
  CudaWeights(const ExecPlan& plan, const PlanSpec& spec, int64_t rank, bool keep_gradients);

  const RankLayout& layout() const { return layout_; }
  KernelWeight kernel_weight(int stage, ParamId id) const;
  float* gradient(int stage, ParamId id) const;
  // Of parameter number `param` of a share.
  const KernelWeight& copy(int64_t share, std::size_t param) const {
    return copies_[static_cast<std::size_t>(share)][param];
  }
  float* buffers() const { return buffers_.as<float>(); }

  struct Share {
    const OptimizerShare* spec;
    int64_t begin;        // first owned element
    int64_t owned;        // elements
    DeviceArray weights;  // BF16, what kernels read; empty with FP8 weights
    DeviceArray grads, decay, kept_gradients;
    StateArray master, moments[2];
  };
  std::vector<Share>& shares() { return shares_; }
  const std::vector<Share>& shares() const { return shares_; }
  bool bf16_moments() const { return bf16_moments_; }
  int64_t static_bytes() const;

  // From a share's gathered BF16 weights to the copies that kernels read, on `stream`.
  void cast(int share, const kernels::bf16* gathered, cudaStream_t stream);
  // Every share's first weights, master weights and kernel copies, made on the device: those of
  // runtime/model/param_init.h. Waits for them.
  void initialise(uint64_t seed, double sigma);
  // Fills weights, master weights and kernel copies of a share from host values.
  void set(int share, std::span<const float> values);
  // The owned master weights, rounded.
  std::vector<kernels::bf16> rounded_master(int share) const;
  // Statistics of the step that the optimizer leaves for the host.
  float* host_statistics() const { return host_statistics_.data(); }
  // The buffers as the optimizer leaves them for the host: only the routers' loads of the step.
  float* host_buffers() const { return host_buffers_.data(); }

 private:
  void place_copies(std::size_t share);
  void initialise_share(Share& s, std::size_t share, uint64_t seed, double sigma);
  void cast_param(std::size_t share, std::size_t param, const kernels::bf16* from,
                  cudaStream_t stream);

  const ExecPlan& plan_;
  RankLayout layout_;
  bool fp8_, bf16_moments_;
  std::vector<Share> shares_;
  // [share][param of the share]: with FP8 weights, each one's own copy.
  std::vector<std::vector<KernelWeight>> copies_;
  std::vector<DeviceArray> copy_memory_;
  DeviceArray buffers_;
  PinnedArray<float> host_statistics_{kMaxStatistics};
  PinnedArray<float> host_buffers_;
};

}  // namespace orrery
