// What the ops of a chain (sim_chains.h) free and allocate from one to the next, added up
// beforehand, so that many of them are passed at once. A tensor that several streams read is freed
// by the last of them, which only the run can tell: these are listed, one by one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "sim/exec/sim_chains.h"
#include "sim/exec/stream_program.h"

namespace orrery {

// What memory accounting needs of a tensor.
struct HeldTensor {
  int64_t bytes;
  uint8_t kind, readers;
  bool on_host() const { return kind == static_cast<uint8_t>(BufferKind::kHost); }
};

class ChainMemory {
 public:
  using ByKind = std::array<int64_t, kBufferKinds>;

  ChainMemory() = default;
  // tensor(block, instruction) -> HeldTensor.
  template <class TensorOf>
  ChainMemory(const StreamProgram& p, const ComputeChains& chains, TensorOf tensor) {
    gaps_.reserve(chains.launches() + 1);
    for (std::size_t b = 0; b * kStreams < p.ranges.size(); ++b) {
      const StreamProgram::Range r =
          p.ranges[b * kStreams + static_cast<std::size_t>(StreamKind::kCompute)];
      for (uint32_t i = r.begin; i < r.end; ++i) {
        const Instr::Kind kind = p.instrs[i].kind;
        if (chains.at(i) != ComputeChains::kNone) begin_gap();
        if (kind == Instr::Kind::kAlloc) allocate(i, tensor(b, p.instrs[i]));
        if (kind == Instr::Kind::kFree) release(i, tensor(b, p.instrs[i]));
      }
    }
    begin_gap();
  }

  // Between launch `first` and launch `last` of one chain, in bytes. Of shared tensors allocations
  // count and releases do not.
  int64_t held(uint32_t first, uint32_t last) const { return gaps_[last].held - gaps_[first].held; }
  int64_t by_kind(uint32_t first, uint32_t last, std::size_t kind) const {
    return gaps_[last].by_kind[kind] - gaps_[first].by_kind[kind];
  }
  // How much more than at `first` is held at most.
  int64_t rise(uint32_t first, uint32_t last) const {
    int64_t highest = gaps_[first].highest;
    for (uint32_t l = first + 1; l < last; ++l) highest = std::max(highest, gaps_[l].highest);
    return highest - gaps_[first].held;
  }
  // Calls each(instruction) for those on shared tensors.
  template <class Each>
  void for_each_shared(uint32_t first, uint32_t last, Each each) const {
    for (uint32_t k = gaps_[first].shared; k < gaps_[last].shared; ++k) each(shared_[k]);
  }

 private:
  // From a launch to the next one; sums over all gaps before it.
  struct Gap {
    int64_t held, highest;
    ByKind by_kind;
    uint32_t shared;
  };
  void begin_gap() {
    gaps_.push_back({held_, held_, by_kind_, static_cast<uint32_t>(shared_.size())});
  }
  void allocate(uint32_t instr, const HeldTensor& t) {
    if (gaps_.empty()) return;
    if (t.readers > 1) shared_.push_back(instr);
    add(t, t.bytes);
    gaps_.back().highest = std::max(gaps_.back().highest, held_);
  }
  void release(uint32_t instr, const HeldTensor& t) {
    if (gaps_.empty()) return;
    if (t.readers > 1)
      shared_.push_back(instr);
    else
      add(t, -t.bytes);
  }
  void add(const HeldTensor& t, int64_t bytes) { held_ += bytes, by_kind_[t.kind] += bytes; }

  std::vector<Gap> gaps_;  // by launch, and the end
  std::vector<uint32_t> shared_;
  int64_t held_ = 0;
  ByKind by_kind_{};
};

}  // namespace orrery
