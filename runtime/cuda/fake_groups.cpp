#include "runtime/cuda/fake_groups.h"

#include <algorithm>

#include "kernels/elementwise/elementwise.h"
#include "runtime/io/counter_random.h"
#include "runtime/model/rank_layout.h"

namespace orrery {
namespace {

constexpr uint64_t kNoiseKey = 1;

std::size_t size(int64_t n) { return static_cast<std::size_t>(n); }

void copy(void* to, const void* from, int64_t bytes, cudaStream_t stream) {
  cuda_check(cudaMemcpyAsync(to, from, size(bytes), cudaMemcpyDeviceToDevice, stream),
             "copying for a fake process group");
}

// Of received activations: zeros would make kernels draw less power and routers choose alike.
DeviceArray noise(int64_t elements) {
  std::vector<kernels::bf16> values(size(elements));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = __float2bfloat16(static_cast<float>(symmetric(counter_random(kNoiseKey, i))));
  DeviceArray on_device(values.size() * sizeof(kernels::bf16), DeviceArray::Clear::kNo);
  copy_to_device(on_device.as<void>(), values.data(), on_device.bytes(), "uploading noise");
  return on_device;
}

class FakeGroup : public Collectives {
 public:
  FakeGroup(int64_t members, int64_t position, int64_t most_received)
      : size_(members), position_(position), noise_(noise(most_received)) {}

  int64_t size() const override { return size_; }
  int64_t position() const override { return position_; }
  void all_reduce(float*, int64_t, cudaStream_t) override {}
  void reduce_scatter(float*, const std::vector<ShardRange>&, cudaStream_t) override {}
  void all_gather(kernels::bf16* data, const std::vector<ShardRange>& parts,
                  cudaStream_t stream) override {
    const ShardRange& mine = parts[static_cast<std::size_t>(position_)];
    for (int64_t r = 0; r < size_; ++r) {
      const ShardRange& part = parts[static_cast<std::size_t>(r)];
      if (r != position_)
        copy(data + part.begin, data + mine.begin, 2 * std::min(part.elements, mine.elements),
             stream);
    }
  }
  void all_gather(const std::vector<Gathered>& arrays, const std::vector<int64_t>& begin,
                  cudaStream_t stream) override {
    const int64_t rows = begin[1];  // of each: peers are copies
    for (const Gathered& a : arrays)
      for (int64_t r = 0; r < size_; ++r)
        copy(static_cast<char*>(a.all) + r * rows * a.row_bytes, a.own, rows * a.row_bytes, stream);
  }
  void all_reduce(const kernels::bf16* x, kernels::bf16* sum, int64_t n,
                  cudaStream_t stream) override {
    launch_check(kernels::scale({n, static_cast<float>(size_), x, sum}, stream));
  }
  void reduce_scatter(const std::vector<Summed>& arrays, const std::vector<int64_t>& begin,
                      cudaStream_t stream) override {
    for (const Summed& a : arrays) {
      const int64_t n = begin[1] * a.row_elements;
      const auto members = static_cast<float>(size_);
      if (a.fp32)
        launch_check(
            kernels::scale_fp32({n, members, static_cast<const float*>(a.all) + position_ * n,
                                 static_cast<float*>(a.own)},
                                stream));
      else
        launch_check(
            kernels::scale({n, members, static_cast<const kernels::bf16*>(a.all) + position_ * n,
                            static_cast<kernels::bf16*>(a.own)},
                           stream));
    }
  }
  void shift(const std::vector<Shifted>& arrays, int64_t, int64_t, cudaStream_t stream) override {
    for (const Shifted& a : arrays) copy(a.receive, a.send, a.bytes, stream);
  }
  void send(const void*, int64_t, int64_t, cudaStream_t) override {}
  void receive(void* data, int64_t bytes, int64_t, cudaStream_t stream) override {
    copy(data, noise_.as<void>(), bytes, stream);
  }
  void exchange(const std::vector<Rows>& arrays, const std::vector<int64_t>& to,
                const std::vector<int64_t>& from, cudaStream_t stream) override {
    if (to != from)
      throw Error(ExitCode::kInternal, "a fake process group is to receive what it does not send");
    for (const Rows& a : arrays) copy(a.receive, a.send, to.back() * a.row_bytes, stream);
  }

 private:
  int64_t size_, position_;
  DeviceArray noise_;  // BF16
};

// Elements of the largest tensor that the class receives over its communicator number `k`.
int64_t most_received(const ExecPlan& plan, const RankClass& c, std::size_t k) {
  int64_t most = 0;
  for (const Block& b : c.blocks)
    for (const Instr& i : b.instrs) {
      if (i.kind != Instr::Kind::kLaunch) continue;
      const PlanOp& p = plan.ops[i.arg];
      const StageGraph& g = plan.stages[p.stage];
      const Op& op = g.ops[p.graph_op];
      if (op.kind != OpKind::kRecv || p.communicator != static_cast<int>(k)) continue;
      const Tensor& t = g.tensors[g.outputs(op)[0].v];
      most = std::max(most, t.rows * t.cols);
    }
  return most;
}

}  // namespace

CollectiveGroups fake_groups(const ExecPlan& plan, int64_t rank) {
  const RankClass& c = plan.classes[plan.place(rank).rank_class];
  CollectiveGroups all(c.communicators.size());
  for (std::size_t k = 0; k < all.size(); ++k) {
    const OpGroup g = op_group(plan, rank, static_cast<int>(k));
    const auto members = static_cast<int64_t>(g.ranks.size());
    if (members > 1)
      all[k] = std::make_unique<FakeGroup>(members, g.position, most_received(plan, c, k));
  }
  return all;
}

}  // namespace orrery
