#include "sim/memory/caching_allocator.h"

#include <algorithm>

namespace orrery {
namespace {

constexpr int64_t kMinBlock = 512;
constexpr int64_t kSmallSize = 1 << 20;
constexpr int64_t kSmallSegment = 2 << 20;
constexpr int64_t kMinLarge = 10 << 20;
constexpr int64_t kLargeSegment = 20 << 20;
constexpr int64_t kRoundLarge = 2 << 20;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t segment_size(int64_t size) {
  if (size <= kSmallSize) return kSmallSegment;
  return size < kMinLarge ? kLargeSegment : round_up(size, kRoundLarge);
}

}  // namespace

CachingAllocator::Pool& CachingAllocator::pool_of(int64_t size, int stream, int32_t& index) {
  index = stream * 2 + (size > kSmallSize ? 1 : 0);
  if (pools_.size() <= static_cast<std::size_t>(index))
    pools_.resize(static_cast<std::size_t>(index) + 1);
  return pools_[static_cast<std::size_t>(index)];
}

uint32_t CachingAllocator::new_block(const Block& b) {
  if (unused_.empty()) {
    blocks_.push_back(b);
    return static_cast<uint32_t>(blocks_.size() - 1);
  }
  const uint32_t i = unused_.back();
  unused_.pop_back();
  blocks_[i] = b;
  return i;
}

void CachingAllocator::add_free(uint32_t i) {
  const Block& b = blocks_[i];
  pools_[static_cast<std::size_t>(b.pool)].free.insert({b.size, b.address, i});
}

void CachingAllocator::remove_free(uint32_t i) {
  const Block& b = blocks_[i];
  pools_[static_cast<std::size_t>(b.pool)].free.erase({b.size, b.address, i});
}

void CachingAllocator::make_room(int64_t bytes) {
  if (stats_.reserved + Bytes(bytes) <= options_.capacity) return;
  ++stats_.retries;
  give_back_free_segments();
}

void CachingAllocator::count_reserved(int64_t bytes) {
  stats_.reserved += Bytes(bytes);
  stats_.out_of_memory = stats_.out_of_memory || stats_.reserved > options_.capacity;
}

// A new segment, as one free block.
uint32_t CachingAllocator::reserve(int64_t size, int32_t pool) {
  const int64_t bytes = segment_size(size);
  make_room(bytes);
  count_reserved(bytes);
  ++stats_.segments;
  const uint32_t i = new_block({next_address_, bytes, kNone, kNone, pool, false});
  next_address_ += bytes;
  add_free(i);
  return i;
}

// More pages at the end of the pool's expandable segment: its last block then has room for `size`.
uint32_t CachingAllocator::grow(int64_t size, int32_t pool) {
  Pool& p = pools_[static_cast<std::size_t>(pool)];
  const int64_t page = is_small(pool) ? kSmallSegment : kLargeSegment;
  const auto extends = [&] { return p.tail != kNone && !blocks_[p.tail].used; };
  const auto more = [&] { return round_up(size - (extends() ? blocks_[p.tail].size : 0), page); };
  make_room(more());  // may give back the block that was to be extended
  const int64_t bytes = more();
  count_reserved(bytes);
  const uint32_t tail = p.tail;
  if (extends()) {
    remove_free(tail);
    blocks_[tail].size += bytes;
    add_free(tail);
    return tail;
  }
  // Far enough from other segments that it never meets them.
  constexpr int64_t kSegmentSpan = int64_t{1} << 50;
  int64_t address = int64_t{pool} * kSegmentSpan;
  if (tail == kNone)
    ++stats_.segments;
  else
    address = blocks_[tail].address + blocks_[tail].size;
  const uint32_t i = new_block({address, bytes, tail, kNone, pool, false});
  if (tail != kNone) blocks_[tail].next = i;
  p.tail = i;
  add_free(i);
  return i;
}

// Segments without a used block. (Expandable ones unmap their free pages.)
void CachingAllocator::give_back_free_segments() {
  for (std::size_t p = 0; p < pools_.size(); ++p) {
    Pool& pool = pools_[p];
    for (auto it = pool.free.begin(); it != pool.free.end();) {
      const Block& b = blocks_[it->block];
      if (options_.expandable_segments) {
        // Only pages at the end: those in the middle come back to the same addresses.
        const int64_t page = is_small(static_cast<int32_t>(p)) ? kSmallSegment : kLargeSegment;
        const int64_t whole = it->block == pool.tail ? b.size / page * page : 0;
        if (whole == 0 || whole < b.size) {
          ++it;
          continue;
        }
        pool.tail = b.previous;
        if (b.previous != kNone) blocks_[b.previous].next = kNone;
      } else if (b.previous != kNone || b.next != kNone) {
        ++it;
        continue;
      }
      stats_.reserved -= Bytes(b.size);
      unused_.push_back(it->block);
      it = pool.free.erase(it);
    }
  }
}

// Uses the front of a free block, and splits off the rest when it is worth it.
uint32_t CachingAllocator::take(uint32_t i, int64_t size) {
  remove_free(i);
  const int64_t rest = blocks_[i].size - size;
  const bool split = is_small(blocks_[i].pool) || options_.expandable_segments ? rest >= kMinBlock
                                                                               : rest > kSmallSize;
  if (split) {
    const Block b = blocks_[i];
    const uint32_t right = new_block({b.address + size, rest, i, b.next, b.pool, false});
    if (b.next != kNone) blocks_[b.next].previous = right;
    blocks_[i].next = right;
    blocks_[i].size = size;
    Pool& p = pools_[static_cast<std::size_t>(b.pool)];
    if (p.tail == i) p.tail = right;
    add_free(right);
  }
  blocks_[i].used = true;
  return i;
}

uint32_t CachingAllocator::allocate(Bytes bytes, int stream) {
  const int64_t size = std::max(kMinBlock, round_up(bytes.count(), kMinBlock));
  int32_t index = 0;
  Pool& pool = pool_of(size, stream, index);
  const auto fit = pool.free.lower_bound({size, -1, 0});
  uint32_t i = kNone;
  if (fit != pool.free.end())
    i = fit->block;
  else
    i = options_.expandable_segments ? grow(size, index) : reserve(size, index);
  i = take(i, size);
  stats_.allocated += Bytes(blocks_[i].size);
  stats_.peak_allocated = std::max(stats_.peak_allocated, stats_.allocated);
  if (stats_.reserved > stats_.peak_reserved) {
    stats_.peak_reserved = stats_.reserved;
    stats_.fragmentation = 1 - static_cast<double>(stats_.allocated.count()) /
                                   static_cast<double>(stats_.reserved.count());
  } else if (stats_.reserved == stats_.peak_reserved) {
    // Of the moments with the most reserved, the one that uses it best.
    stats_.fragmentation =
        std::min(stats_.fragmentation, 1 - static_cast<double>(stats_.allocated.count()) /
                                               static_cast<double>(stats_.reserved.count()));
  }
  return i;
}

uint32_t CachingAllocator::merge(uint32_t left, uint32_t right) {
  Block& l = blocks_[left];
  const Block& r = blocks_[right];
  l.size += r.size;
  l.next = r.next;
  if (r.next != kNone) blocks_[r.next].previous = left;
  Pool& p = pools_[static_cast<std::size_t>(l.pool)];
  if (p.tail == right) p.tail = left;
  unused_.push_back(right);
  return left;
}

void CachingAllocator::free(uint32_t i) {
  stats_.allocated -= Bytes(blocks_[i].size);
  blocks_[i].used = false;
  const uint32_t before = blocks_[i].previous, after = blocks_[i].next;
  if (after != kNone && !blocks_[after].used) {
    remove_free(after);
    i = merge(i, after);
  }
  if (before != kNone && !blocks_[before].used) {
    remove_free(before);
    i = merge(before, i);
  }
  add_free(i);
}

}  // namespace orrery
