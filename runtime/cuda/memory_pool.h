// A stream-ordered memory pool that follows the plan's Alloc and Free. Which memory an allocation
// gets is a function of the calls so far, not of the GPU's timing, so repeated programs get the
// same addresses.
//
// A block that one stream freed may be given to another one once that has waited, directly or over
// third streams, for the point of the free; vector clocks tell. Otherwise the pool inserts the
// wait. Copies between GPU and host take long, so what one of them used last stays apart from free
// memory beside it until nothing else is left.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "runtime/cuda/device.h"
#include "sim/graph/training_graph.h"

namespace orrery {

// What a point of a stream comes after: for each stream the count of its points.
using StreamClock = std::array<uint64_t, kStreams>;

class MemoryPool {
 public:
  enum class Of : uint8_t { kDevice, kPinned };  // page-locked host memory
  explicit MemoryPool(Of of = Of::kDevice) : of_(of) {}

  struct Block {
    char* data = nullptr;
    int64_t bytes = 0;   // rounded up
    int waits_for = -1;  // stream that the allocating one has to wait for first; -1: none
  };
  // Memory for use on `stream`, whose current point comes after `clock`. O(log n) typically. Throws
  // Infeasible when the device has no more, naming sizes.
  Block allocate(int64_t bytes, int stream, const StreamClock& clock);
  // Takes so much from the device (or host) now, in one piece. Taking it later would wait for
  // kernels that run, which may be receives that wait for what this rank has yet to send.
  void reserve(int64_t bytes);
  // The last use is at `clock[stream]` of `stream`; for several readers give each one's point.
  void free(char* data, const StreamClock& last_use);

  // All uses of what has been freed are over, for every stream.
  void settle();

  int64_t in_use() const { return in_use_; }
  int64_t reserved() const { return reserved_; }
  // High-water mark of in_use() since the last call.
  int64_t take_peak();

 private:
  struct Piece {
    int64_t bytes;
    bool free;
    StreamClock after;  // of a free piece: all uses of it
    char *previous, *next;
  };
  using Pieces = std::map<char*, Piece>;
  void grow(int64_t bytes);
  char* segment(int64_t bytes);
  void insert_free(Pieces::iterator p);
  void erase_free(Pieces::iterator p);
  char* take(Pieces::iterator p, int64_t bytes);
  void join_all();
  Pieces::iterator join(Pieces::iterator a, Pieces::iterator b);
  static bool copied_alike(const StreamClock& a, const StreamClock& b);
  static bool covered(const StreamClock& uses, const StreamClock& clock);

  Pieces pieces_;                          // of all segments
  std::multimap<int64_t, char*> by_size_;  // free pieces
  const Of of_;
  std::vector<DeviceArray> segments_;
  std::vector<std::unique_ptr<PinnedArray<char>>> pinned_;
  int64_t in_use_ = 0, peak_ = 0, reserved_ = 0;
  bool apart_ = false;  // some free pieces lie side by side
};

}  // namespace orrery
