// The plan's collectives on the device, over one communicator. A group of one rank has none.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/cuda/op_call.h"

namespace orrery {

// What the plan needs of a group of ranks. Calls return when the work is on the stream.
class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int64_t size() const = 0;
  virtual int64_t position() const = 0;

  virtual void all_reduce(float* data, int64_t n, cudaStream_t stream) = 0;  // sum, in place
  // In place: afterwards this rank's part, one of size(), holds the sum.
  virtual void reduce_scatter(float* data, const std::vector<ShardRange>& parts,
                              cudaStream_t stream) = 0;
  // In place, of BF16 elements of which this rank's part is there.
  virtual void all_gather(kernels::bf16* data, const std::vector<ShardRange>& parts,
                          cudaStream_t stream) = 0;

  // Of activations, into other memory. Rows of several arrays at once, every member's, in the order
  // of their positions: `begin` [size() + 1] has the first of each.
  struct Gathered {
    const void* own;
    void* all;
    int64_t row_bytes;
  };
  virtual void all_gather(const std::vector<Gathered>& arrays, const std::vector<int64_t>& begin,
                          cudaStream_t stream) = 0;
  // Sum of `n` elements.
  virtual void all_reduce(const kernels::bf16* x, kernels::bf16* sum, int64_t n,
                          cudaStream_t stream) = 0;
  // Sums of this rank's rows of what every member has of all, with `begin` as above.
  struct Summed {
    const void* all;
    void* own;
    int64_t row_elements;
    bool fp32 = false;  // else BF16
  };
  virtual void reduce_scatter(const std::vector<Summed>& arrays, const std::vector<int64_t>& begin,
                              cudaStream_t stream) = 0;

  // To one member what another one's `receive` gets from its own.
  struct Shifted {
    const void* send;
    void* receive;
    int64_t bytes;
  };
  virtual void shift(const std::vector<Shifted>& arrays, int64_t to, int64_t from,
                     cudaStream_t stream) = 0;

  virtual void send(const void* data, int64_t bytes, int64_t to, cudaStream_t stream) = 0;
  virtual void receive(void* data, int64_t bytes, int64_t from, cudaStream_t stream) = 0;

  // Rows between all members: row r of `send` goes to the rank d with to[d] <= r < to[d + 1];
  // those of rank s arrive at from[s]. Several arrays at once.
  struct Rows {
    const void* send;
    void* receive;
    int64_t row_bytes;
  };
  virtual void exchange(const std::vector<Rows>& arrays, const std::vector<int64_t>& to,
                        const std::vector<int64_t>& from, cudaStream_t stream) = 0;
};

// The parts of a share that its owners split.
std::vector<ShardRange> shards_of(const OptimizerShare& share);

// Those of a rank's class, in the order of RankClass::communicators; nullptr: a group of one rank.
using CollectiveGroups = std::vector<std::unique_ptr<Collectives>>;

// Puts a collective of the plan on the stream. `group` may be nullptr: one rank.
void launch_collective(CudaOpCall& c, Collectives* group);

}  // namespace orrery
