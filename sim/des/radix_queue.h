// The event queue: a monotone radix heap (Ahuja, Mehlhorn, Orlin, Tarjan, "Faster algorithms for
// the shortest path problem", J. ACM 37(2), 1990), in its multi-level form: digits of six bits.
//
// Monotone: nothing is pushed before the time last popped, which is what a discrete-event
// simulation does anyway. Let `last` be that time. An event at time t lies in the bucket
// (level, digit): `level` is the highest base-64 digit in which t differs from `last` (0 when it
// does not), and `digit` is t's own digit there. Hence
//   - all events of a level-0 bucket have the same time;
//   - the earliest event is in the lowest non-empty level, at its lowest non-empty digit.
// A pop takes from that bucket when it is of level 0. Otherwise it sets `last` to the bucket's
// earliest time and moves the bucket's events, each to a lower level; every other bucket stays
// right, because the digits that placed its events did not change. One 64-bit mask a level finds
// the bucket.
//
// Cost: an event is moved at most once a level (11 levels), in practice about log64 of the number
// pending; push is O(1), pop amortised O(levels). Base 2, the textbook form, takes half as long
// again per event (tests/perf/queue_bench.cpp measures this one).
//
// Equal times leave in the order in which they came, without a sequence number. The bucket is a
// function of (t, last) alone, so pending events of one time always share one bucket. A bucket is
// filled only at its end and read only from its front; and when a bucket is moved, in order, all
// the buckets it moves to are empty, since they are of lower levels. So a later push finds every
// earlier event of its time in its own bucket, ahead of it, also while that time is being drained.
//
// Storage: a bucket is a chain of 512-byte chunks, the first of which is its own for good; further
// ones come from a pool shared by all buckets and go back to it. Once the pool has grown to the
// largest number pending (see reserve), nothing allocates.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

namespace orrery {

// Times are integer picoseconds, 0 or later. Running out of memory in push ends the process.
template <class Payload>
class RadixQueue {
 public:
  struct Entry {
    int64_t time;
    Payload payload;
  };
  static_assert(sizeof(Payload) == 8 && sizeof(Entry) == 16);
  static_assert(std::is_trivially_copyable_v<Payload> && std::is_trivially_destructible_v<Payload>);

  RadixQueue() : first_(std::make_unique_for_overwrite<Chunk[]>(kBuckets)) {
    for (size_t b = 0; b < kBuckets; ++b) tail_[b] = begin_of(b);
    head_ = begin_of(0);
  }
  RadixQueue(const RadixQueue&) = delete;  // the tails point into the chunks
  RadixQueue& operator=(const RadixQueue&) = delete;

  bool empty() const noexcept { return size_ == 0; }
  size_t size() const noexcept { return size_; }

  // The time of the last pop; 0 before the first. Pushes must not be earlier.
  int64_t now() const noexcept { return last_; }

  // Is an event pending at now()? One bit test: the question the engine asks after every event.
  bool has_event_now() const noexcept { return ((digits_[0] >> digit_of(last_, 0)) & 1) != 0; }

  // The earliest pending time. Leaves now() alone, so that pushes before it stay possible; costs a
  // scan of one bucket when the next event is more than a few picoseconds away.
  int64_t next_time() const noexcept;

  void push(int64_t time, Payload payload) noexcept {
    assert(time >= last_);
    ++size_;
    append({time, payload});
  }

  // Removes the earliest event; of several at one time, the one pushed first.
  Entry pop() noexcept;

  // Forgets all events and sets now() to 0. Keeps the memory.
  void clear() noexcept;

  // Makes room so that nothing allocates while at most `events` are pending.
  void reserve(size_t events) {
    while (capacity() < events) grow();
  }
  // How many events can be pending, however they fall, before the next allocation. A bucket of n
  // events holds n / kPerChunk pooled chunks; two more may be in use half read.
  size_t capacity() const noexcept { return pool_chunks_ < 2 ? 0 : (pool_chunks_ - 2) * kPerChunk; }

 private:
  static constexpr unsigned kDigitBits = 6;
  static constexpr size_t kDigits = size_t{1} << kDigitBits;
  static constexpr size_t kLevels = (63 + kDigitBits - 1) / kDigitBits;
  static constexpr size_t kBuckets = kLevels * kDigits;
  static constexpr size_t kChunkBytes = 512;  // 256 costs more cache misses, 1024 more memory
  static constexpr size_t kPerChunk = kChunkBytes / sizeof(Entry) - 1;

  // Aligned to its size, so that an entry's address tells its chunk and whether it is the last.
  struct alignas(kChunkBytes) Chunk {
    Entry entries[kPerChunk];
    Chunk* next;  // set only where the bucket's tail has moved past this chunk, or in the pool
  };
  static_assert(sizeof(Chunk) == kChunkBytes);

  static size_t digit_of(int64_t time, size_t level) noexcept {
    return (static_cast<uint64_t>(time) >> (level * kDigitBits)) & (kDigits - 1);
  }
  static Chunk* chunk_of(Entry* e) noexcept {
    return reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(e) & ~uintptr_t{kChunkBytes - 1});
  }
  static bool past_chunk(const Entry* e) noexcept {
    return (reinterpret_cast<uintptr_t>(e) & (kChunkBytes - 1)) == kPerChunk * sizeof(Entry);
  }
  static void prefetch(const Chunk* c) noexcept {
    const char* p = reinterpret_cast<const char*>(c);
    for (size_t i = 0; i < kChunkBytes; i += 64) __builtin_prefetch(p + i);
  }

  Entry* begin_of(size_t bucket) const noexcept { return first_[bucket].entries; }
  bool is_pooled(size_t bucket, const Chunk* c) const noexcept { return c != &first_[bucket]; }

  // The bucket with the earliest event. The queue must not be empty.
  size_t lowest_bucket() const noexcept {
    const auto level = static_cast<size_t>(std::countr_zero(levels_));
    return level * kDigits + static_cast<size_t>(std::countr_zero(digits_[level]));
  }
  void mark_empty(size_t bucket) noexcept {
    const size_t level = bucket / kDigits;
    tail_[bucket] = begin_of(bucket);
    digits_[level] &= ~(uint64_t{1} << (bucket % kDigits));
    levels_ &= ~(uint32_t{digits_[level] == 0} << level);
  }
  // Moves now() to `time`, whose level-0 bucket has not been read from.
  void advance_to(int64_t time) noexcept {
    last_ = time;
    head_ = begin_of(digit_of(time, 0));
  }

  void append(Entry e) noexcept {
    const auto differ = static_cast<uint64_t>(e.time ^ last_);
    const size_t level = static_cast<size_t>(63 - std::countl_zero(differ | 1)) / kDigitBits;
    const size_t digit = digit_of(e.time, level);
    const size_t bucket = level * kDigits + digit;
    digits_[level] |= uint64_t{1} << digit;
    levels_ |= uint32_t{1} << level;
    Entry* t = tail_[bucket];
    *t++ = e;
    tail_[bucket] = past_chunk(t) ? link_chunk(t) : t;
  }

  // Calls fn(begin, end, chunk) on the chunks of `bucket`, which must not have been read from.
  // `fn` may release the chunk.
  template <class Fn>
  void for_each_chunk(size_t bucket, Fn fn) const noexcept {
    Entry* const tail = tail_[bucket];
    Chunk* const final_chunk = chunk_of(tail);
    Chunk* c = &first_[bucket];
    while (c != final_chunk) {
      Chunk* const next = c->next;
      prefetch(next);  // pooled chunks lie anywhere: the hardware cannot guess the next one
      fn(c->entries, c->entries + kPerChunk, c);
      c = next;
    }
    fn(c->entries, tail, c);
  }
  int64_t min_time(size_t bucket) const noexcept;
  void redistribute(size_t bucket) noexcept;
  Entry pop_front() noexcept;

  [[gnu::noinline]] Entry* link_chunk(Entry* past) noexcept {
    if (pool_ == nullptr) grow();
    Chunk* const c = pool_;
    pool_ = c->next;
    chunk_of(past - 1)->next = c;
    return c->entries;
  }
  void release(Chunk* c) noexcept {
    c->next = pool_;
    pool_ = c;
  }
  [[gnu::noinline]] void grow();

  int64_t last_ = 0;
  size_t size_ = 0;
  Entry* head_;                             // where the level-0 bucket of last_ is read
  uint32_t levels_ = 0;                     // bit per level: has it a non-empty bucket?
  std::array<uint64_t, kLevels> digits_{};  // bit per bucket: is it non-empty?
  std::array<Entry*, kBuckets> tail_;       // where the bucket's next event goes
  std::unique_ptr<Chunk[]> first_;          // the bucket's first chunk
  Chunk* pool_ = nullptr;
  size_t pool_chunks_ = 0;
  std::vector<std::unique_ptr<Chunk[]>> slabs_;  // own the pooled chunks
};

template <class Payload>
int64_t RadixQueue<Payload>::next_time() const noexcept {
  assert(!empty());
  const size_t bucket = lowest_bucket();
  if (bucket >= kDigits) return min_time(bucket);
  return (last_ & ~static_cast<int64_t>(kDigits - 1)) | static_cast<int64_t>(bucket);
}

template <class Payload>
typename RadixQueue<Payload>::Entry RadixQueue<Payload>::pop() noexcept {
  assert(!empty());
  --size_;
  const size_t bucket = lowest_bucket();
  if (bucket >= kDigits) {
    Entry* const only = begin_of(bucket);
    if (tail_[bucket] == only + 1) {  // common when events are far apart, and needs no move
      mark_empty(bucket);
      advance_to(only->time);
      return *only;
    }
    redistribute(bucket);
  } else if (bucket != digit_of(last_, 0)) {
    advance_to(begin_of(bucket)->time);
  }
  return pop_front();
}

// Takes from the level-0 bucket of now(), which is not empty.
template <class Payload>
typename RadixQueue<Payload>::Entry RadixQueue<Payload>::pop_front() noexcept {
  const size_t bucket = digit_of(last_, 0);
  const Entry e = *head_++;
  if (past_chunk(head_)) [[unlikely]] {
    Chunk* const c = chunk_of(head_ - 1);
    head_ = c->next->entries;
    if (is_pooled(bucket, c)) release(c);
  }
  if (head_ == tail_[bucket]) {
    if (Chunk* c = chunk_of(head_); is_pooled(bucket, c)) release(c);
    mark_empty(bucket);
    head_ = begin_of(bucket);
  }
  return e;
}

template <class Payload>
int64_t RadixQueue<Payload>::min_time(size_t bucket) const noexcept {
  int64_t earliest = std::numeric_limits<int64_t>::max();
  for_each_chunk(bucket, [&](const Entry* e, const Entry* end, Chunk*) {
    for (; e != end; ++e) earliest = std::min(earliest, e->time);
  });
  return earliest;
}

// Moves now() to the earliest time of `bucket`, the lowest one and of level 1 or more, and its
// events to lower levels, in order; the earliest end up in the level-0 bucket of now().
template <class Payload>
[[gnu::noinline]] void RadixQueue<Payload>::redistribute(size_t bucket) noexcept {
  advance_to(min_time(bucket));
  for_each_chunk(bucket, [&](const Entry* e, const Entry* end, Chunk* c) {
    for (; e != end; ++e) append(*e);
    if (is_pooled(bucket, c)) release(c);
  });
  mark_empty(bucket);
}

template <class Payload>
void RadixQueue<Payload>::clear() noexcept {
  while (levels_ != 0) {
    const size_t bucket = lowest_bucket();
    // The chunks before the read position have been released already.
    Chunk* c = bucket == digit_of(last_, 0) ? chunk_of(head_) : &first_[bucket];
    Chunk* const final_chunk = chunk_of(tail_[bucket]);
    while (c != final_chunk) {
      Chunk* const next = c->next;
      if (is_pooled(bucket, c)) release(c);
      c = next;
    }
    if (is_pooled(bucket, final_chunk)) release(final_chunk);
    mark_empty(bucket);
  }
  size_ = 0;
  advance_to(0);
}

template <class Payload>
void RadixQueue<Payload>::grow() {
  const size_t n = std::max<size_t>(64, pool_chunks_);  // doubles
  slabs_.push_back(std::make_unique_for_overwrite<Chunk[]>(n));
  for (size_t i = n; i-- > 0;) release(&slabs_.back()[i]);  // handed out in address order
  pool_chunks_ += n;
}

}  // namespace orrery
