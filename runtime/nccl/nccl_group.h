// A NCCL communicator of one group of ranks, non-blocking: no call waits for a peer without a
// deadline.
#pragma once

#include <nccl.h>

#include <string>
#include <vector>

#include "runtime/cuda/collectives.h"
#include "runtime/launch/deadline.h"

namespace orrery {

// Throws kUnavailable when the library is older than the calls used here.
void check_nccl_version();
ncclUniqueId make_nccl_id();

class NcclGroup : public Collectives {
 public:
  // Collective over the members. `name` is for errors.
  NcclGroup(std::string name, const ncclUniqueId& id, int size, int position, Deadline deadline);
  ~NcclGroup() override;
  // Connects every pair that the plan may use, so that no later call has to wait for a peer.
  void warm_up(Deadline deadline);

  int64_t size() const override { return size_; }
  int64_t position() const override { return position_; }
  void all_reduce(float* data, int64_t n, cudaStream_t stream) override;
  void reduce_scatter(float* data, const std::vector<ShardRange>& parts,
                      cudaStream_t stream) override;
  void all_gather(kernels::bf16* data, const std::vector<ShardRange>& parts,
                  cudaStream_t stream) override;
  void all_gather(const std::vector<Gathered>& arrays, const std::vector<int64_t>& begin,
                  cudaStream_t stream) override;
  void all_reduce(const kernels::bf16* x, kernels::bf16* sum, int64_t n,
                  cudaStream_t stream) override;
  void reduce_scatter(const std::vector<Summed>& arrays, const std::vector<int64_t>& begin,
                      cudaStream_t stream) override;
  void shift(const std::vector<Shifted>& arrays, int64_t to, int64_t from,
             cudaStream_t stream) override;
  void send(const void* data, int64_t bytes, int64_t to, cudaStream_t stream) override;
  void receive(void* data, int64_t bytes, int64_t from, cudaStream_t stream) override;
  void exchange(const std::vector<Rows>& arrays, const std::vector<int64_t>& to,
                const std::vector<int64_t>& from, cudaStream_t stream) override;

 private:
  // Calls post_all(run): what that runs, each run([] { return ncclSend(...); }), is one launch.
  // After a call that fails no other is made.
  template <class PostAll>
  void grouped(const char* name, PostAll post_all);
  // Posts one call for each part that is not empty, as one launch.
  template <class Post>
  void for_each_part(const std::vector<ShardRange>& parts, const char* name, Post post);
  // Waits until a call that was put off is under way.
  void check(ncclResult_t result, const char* call);

  std::string name_;
  int size_, position_;
  ncclComm_t comm_ = nullptr;
  Deadline deadline_;      // of the set-up
  uint64_t sequence_ = 0;  // of the next call
};

}  // namespace orrery
