#include "runtime/cuda/memory_pool.h"

#include <algorithm>

namespace orrery {
namespace {

constexpr int64_t kAlignment = 512;
constexpr int64_t kSegment = int64_t{256} << 20;  // smaller segments only on request
// Pieces tried before one is taken that needs a wait.
constexpr int kTries = 16;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace

bool MemoryPool::covered(const StreamClock& uses, const StreamClock& clock) {
  for (std::size_t s = 0; s < uses.size(); ++s)
    if (uses[s] > clock[s]) return false;
  return true;
}

// Whether copies to and from the host use them up to the same points.
bool MemoryPool::copied_alike(const StreamClock& a, const StreamClock& b) {
  constexpr auto kIn = static_cast<std::size_t>(StreamKind::kHostToDevice);
  constexpr auto kOut = static_cast<std::size_t>(StreamKind::kDeviceToHost);
  return a[kIn] == b[kIn] && a[kOut] == b[kOut];
}

void MemoryPool::insert_free(Pieces::iterator p) {
  p->second.free = true;
  by_size_.emplace(p->second.bytes, p->first);
}

void MemoryPool::erase_free(Pieces::iterator p) {
  const auto range = by_size_.equal_range(p->second.bytes);
  for (auto i = range.first; i != range.second; ++i)
    if (i->second == p->first) {
      by_size_.erase(i);
      return;
    }
}

char* MemoryPool::segment(int64_t size) {
  try {
    if (of_ == Of::kPinned) {
      pinned_.push_back(std::make_unique<PinnedArray<char>>(static_cast<std::size_t>(size)));
      return pinned_.back()->data();
    }
    segments_.emplace_back(static_cast<std::size_t>(size), DeviceArray::Clear::kNo);
    return segments_.back().as<char>();
  } catch (const Error&) {
    if (of_ == Of::kPinned)
      throw Infeasible(fmt::format(
          "out of host memory: {:.2f} GiB more cannot be page-locked, beside {:.2f} "
          "GiB; offload fewer layers (offload_activations)",
          static_cast<double>(size) / (1 << 30), static_cast<double>(reserved_) / (1 << 30)));
    std::size_t left = 0, total = 0;
    cudaGetLastError();
    cudaMemGetInfo(&left, &total);
    throw Infeasible(fmt::format(
        "out of GPU memory: {:.1f} MiB more are needed; {:.2f} GiB are in use by tensors, {:.2f} "
        "GiB reserved for them, {:.2f} of {:.2f} GiB free on the device; recompute more, or use a "
        "smaller micro-batch or more ranks",
        static_cast<double>(size) / (1 << 20), static_cast<double>(in_use_) / (1 << 30),
        static_cast<double>(reserved_) / (1 << 30), static_cast<double>(left) / (1 << 30),
        static_cast<double>(total) / (1 << 30)));
  }
}

void MemoryPool::grow(int64_t bytes) {
  const int64_t size = std::max(round_up(bytes, int64_t{2} << 20), kSegment);
  char* data = segment(size);
  reserved_ += size;
  const auto p = pieces_.emplace(data, Piece{size, true, {}, nullptr, nullptr}).first;
  insert_free(p);
}

void MemoryPool::reserve(int64_t bytes) { grow(bytes); }

char* MemoryPool::take(Pieces::iterator p, int64_t bytes) {
  erase_free(p);
  p->second.free = false;
  const int64_t rest = p->second.bytes - bytes;
  if (rest >= kAlignment) {
    char* at = p->first + bytes;
    Piece tail{rest, true, p->second.after, p->first, p->second.next};
    if (tail.next != nullptr) pieces_.at(tail.next).previous = at;
    p->second.next = at;
    p->second.bytes = bytes;
    insert_free(pieces_.emplace(at, tail).first);
  }
  in_use_ += p->second.bytes;
  peak_ = std::max(peak_, in_use_);
  return p->first;
}

MemoryPool::Block MemoryPool::allocate(int64_t bytes, int stream, const StreamClock& clock) {
  const int64_t want = round_up(std::max<int64_t>(bytes, 1), kAlignment);
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto fallback = by_size_.end();
    int tries = 0;
    for (auto i = by_size_.lower_bound(want); i != by_size_.end() && tries < kTries; ++i, ++tries) {
      const auto p = pieces_.find(i->second);
      if (covered(p->second.after, clock)) return {take(p, want), p->second.bytes, -1};
      if (fallback == by_size_.end()) fallback = i;
    }
    if (apart_) {
      join_all();
      continue;
    }
    if (fallback != by_size_.end()) {
      const auto p = pieces_.find(fallback->second);
      // The one stream whose uses are not covered; with several the caller asks again.
      int late = -1;
      for (int s = 0; s < kStreams; ++s)
        if (s != stream &&
            p->second.after[static_cast<std::size_t>(s)] > clock[static_cast<std::size_t>(s)])
          late = s;
      return {nullptr, 0, late};
    }
    grow(want);
  }
  throw Error(ExitCode::kInternal, "the memory pool did not grow");
}

MemoryPool::Pieces::iterator MemoryPool::join(Pieces::iterator a, Pieces::iterator b) {
  erase_free(a), erase_free(b);
  for (std::size_t s = 0; s < a->second.after.size(); ++s)
    a->second.after[s] = std::max(a->second.after[s], b->second.after[s]);
  a->second.bytes += b->second.bytes;
  a->second.next = b->second.next;
  if (a->second.next != nullptr) pieces_.at(a->second.next).previous = a->first;
  pieces_.erase(b);
  insert_free(a);
  return a;
}

void MemoryPool::join_all() {
  for (auto p = pieces_.begin(); p != pieces_.end(); ++p)
    while (p->second.free && p->second.next != nullptr && pieces_.at(p->second.next).free)
      join(p, pieces_.find(p->second.next));
  apart_ = false;
}

void MemoryPool::free(char* data, const StreamClock& last_use) {
  auto p = pieces_.find(data);
  in_use_ -= p->second.bytes;
  p->second.after = last_use;
  insert_free(p);
  const auto joins = [&](char* neighbour) {
    if (neighbour == nullptr) return false;
    const Piece& n = pieces_.at(neighbour);
    if (!n.free) return false;
    const bool same = copied_alike(n.after, last_use);
    apart_ = apart_ || !same;
    return same;
  };
  if (joins(p->second.next)) p = join(p, pieces_.find(p->second.next));
  if (joins(p->second.previous)) join(pieces_.find(p->second.previous), p);
}

void MemoryPool::settle() {
  join_all();
  for (auto& [data, piece] : pieces_) piece.after = {};
}

int64_t MemoryPool::take_peak() { return std::exchange(peak_, in_use_); }

}  // namespace orrery
