// PyTorch's caching allocator on one device, without the device: which segments it would reserve
// for a sequence of allocations. Rules of c10/cuda/CUDACachingAllocator.cpp (PyTorch 2.x):
//   - sizes are rounded up to 512 bytes
//   - to 1 MiB from the small pool, in segments of 2 MiB; else from the large pool, in segments of
//     20 MiB up to sizes of 10 MiB, and of the size rounded up to 2 MiB above
//   - best fit within the pool of the stream, the lowest address of equal sizes; the rest of a
//   block
//     is split off when it is at least 512 bytes (small) or more than 1 MiB (large)
//   - a freed block merges with free neighbours; segments stay reserved, and only when the device
//   is
//     full the wholly free ones are given back
//   - expandable segments: one segment per pool and stream that grows at its end by whole pages of
//     2 MiB (small) or 20 MiB (large); blocks are split down to 512 bytes
// Allocations run on the host, in the order of the program. Not modelled: garbage collection
// thresholds, private pools of CUDA graphs, roundup_power2_divisions.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "sim/base/units.h"

namespace orrery {

struct AllocatorOptions {
  bool expandable_segments = false;
  Bytes capacity{INT64_MAX};  // for segments
};

struct AllocatorStats {
  Bytes allocated, reserved;  // now
  Bytes peak_allocated, peak_reserved;
  int64_t segments = 0;        // ever reserved
  int64_t retries = 0;         // times that free segments were given back for room
  bool out_of_memory = false;  // some segment went over the capacity
  // Reserved bytes that no tensor uses, when the most is reserved: 1 - allocated / reserved.
  double fragmentation = 0;
};

class CachingAllocator {
 public:
  explicit CachingAllocator(const AllocatorOptions& options) : options_(options) {}

  // A handle for `free`. O(log blocks).
  uint32_t allocate(Bytes size, int stream);
  void free(uint32_t handle);
  const AllocatorStats& stats() const { return stats_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Block {
    int64_t address = 0, size = 0;            // addresses of segments ascend as they are reserved
    uint32_t previous = kNone, next = kNone;  // neighbours in the segment
    int32_t pool = 0;
    bool used = false;
  };
  struct Key {
    int64_t size, address;
    uint32_t block;
    auto operator<=>(const Key&) const = default;
  };
  struct Pool {
    std::set<Key> free;
    uint32_t tail = kNone;  // last block of the expandable segment
  };

  static bool is_small(int32_t pool) { return pool % 2 == 0; }
  Pool& pool_of(int64_t size, int stream, int32_t& index);
  uint32_t new_block(const Block& b);
  uint32_t reserve(int64_t size, int32_t pool);
  uint32_t grow(int64_t size, int32_t pool);
  void give_back_free_segments();
  void make_room(int64_t bytes);
  void count_reserved(int64_t bytes);
  uint32_t take(uint32_t block, int64_t size);
  uint32_t merge(uint32_t left, uint32_t right);
  void add_free(uint32_t block);
  void remove_free(uint32_t block);

  AllocatorOptions options_;
  AllocatorStats stats_;
  std::vector<Pool> pools_;  // [stream * 2 + is large]
  std::vector<Block> blocks_;
  std::vector<uint32_t> unused_;  // of blocks_
  int64_t next_address_ = 0;
};

}  // namespace orrery
