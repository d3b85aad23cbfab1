// Memory that one op of a rank takes for its own time.
#pragma once

#include "runtime/cuda/cuda_rank.h"

namespace orrery {

// Memory of one op; given back, in stream order, when the op is on its stream.
class CudaRank::StreamScratch : public Scratch {
 public:
  StreamScratch(CudaRank& rank, StreamKind stream) : rank_(rank), stream_(stream) {}
  char* get(int64_t bytes) override {
    taken_.push_back(rank_.take(bytes, stream_, true));
    return taken_.back();
  }
  ~StreamScratch() override {
    for (char* data : taken_) rank_.pool_.free(data, rank_.point(stream_));
  }

 private:
  CudaRank& rank_;
  StreamKind stream_;
  std::vector<char*> taken_;
};

// Memory that was set aside when the op was prepared.
class CudaRank::FixedScratch : public Scratch {
 public:
  explicit FixedScratch(char* data) : data_(data) {}
  char* get(int64_t bytes) override {
    if (bytes > 0 && data_ == nullptr)
      throw Error(ExitCode::kInternal, "an op in a CUDA graph takes memory that was not planned");
    return std::exchange(data_, nullptr);
  }

 private:
  char* data_;
};

}  // namespace orrery
