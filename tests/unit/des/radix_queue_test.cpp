#include "sim/des/radix_queue.h"

#include <algorithm>
#include <boost/random/mersenne_twister.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <cstdint>
#include <limits>
#include <queue>
#include <vector>

#include "tests/catch.h"

namespace orrery {
namespace {

using Queue = RadixQueue<uint64_t>;
using Rng = boost::random::mt19937_64;

constexpr int64_t kMaxTime = std::numeric_limits<int64_t>::max();

int64_t draw(Rng& rng, int64_t low, int64_t high) {
  return boost::random::uniform_int_distribution<int64_t>(low, high)(rng);
}

// How far ahead of now the next push is.
enum class Gaps { kTies, kSmooth, kHuge, kEveryWidth };

int64_t draw_gap(Rng& rng, Gaps gaps) {
  constexpr int64_t kTieGaps[] = {0, 0, 1, 1, 5, 64, 1000, 4096};
  switch (gaps) {
    case Gaps::kTies:
      return kTieGaps[draw(rng, 0, 7)];
    case Gaps::kSmooth:
      return draw(rng, 0, 1'000'000);
    case Gaps::kHuge:
      return draw(rng, 0, 3) != 0 ? draw(rng, 0, 3) : draw(rng, 0, int64_t{1} << 59);
    case Gaps::kEveryWidth:
      break;
  }
  const int64_t bits = draw(rng, 0, 59);
  return draw(rng, 0, int64_t{1} << bits);
}

// The queue and a stable binary heap, driven together; every answer is compared. Each event's
// payload is its sequence number, so an equal payload means the order among ties is right too.
class Pair {
 public:
  explicit Pair(Queue& queue) : queue_(queue) {}

  size_t size() const { return reference_.size(); }

  void push(int64_t gap) {
    const int64_t time = now_ + std::min(gap, kMaxTime - now_);
    queue_.push(time, sequence_);
    reference_.push({time, sequence_});
    ++sequence_;
  }
  // False when the two differ. Plain comparisons: an assertion for each of millions is slow.
  bool pop_agrees() {
    const Item expected = reference_.top();
    reference_.pop();
    if (draws_ % 8 == 0 && queue_.next_time() != expected.time) return false;
    ++draws_;
    const Queue::Entry found = queue_.pop();
    now_ = expected.time;
    return found.time == expected.time && found.payload == expected.sequence && state_agrees();
  }
  bool state_agrees() const {
    const bool due = !reference_.empty() && reference_.top().time == now_;
    return queue_.now() == now_ && queue_.size() == reference_.size() &&
           queue_.empty() == reference_.empty() && queue_.has_event_now() == due;
  }

 private:
  struct Item {
    int64_t time;
    uint64_t sequence;
    bool operator<(const Item& o) const {  // for a max-heap
      return time != o.time ? time > o.time : sequence > o.sequence;
    }
  };
  Queue& queue_;
  std::priority_queue<Item> reference_;
  int64_t now_ = 0;
  uint64_t sequence_ = 0;
  uint64_t draws_ = 0;
};

// Random pushes and pops with the number pending swinging between 0 and about `high`, then a drain
// during which every seventh pop pushes at the time being drained.
bool agrees_with_reference(Queue& queue, uint64_t seed, Gaps gaps, size_t high, int steps) {
  Rng rng(seed);
  Pair pair(queue);
  bool filling = true;
  for (int i = 0; i < steps; ++i) {
    if (pair.size() == 0) filling = true;
    if (pair.size() >= high) filling = false;
    const bool push = pair.size() == 0 || draw(rng, 0, 9) < (filling ? 7 : 3);
    if (push) pair.push(draw_gap(rng, gaps));
    if (push ? !pair.state_agrees() : !pair.pop_agrees()) return false;
  }
  for (int i = 0; pair.size() > 0; ++i) {
    if (i % 7 == 0) pair.push(0);
    if (!pair.pop_agrees()) return false;
  }
  return queue.empty();
}

std::vector<uint64_t> drain(Queue& queue) {
  std::vector<uint64_t> order;
  while (!queue.empty()) order.push_back(queue.pop().payload);
  return order;
}

// Leaves events in many buckets, and one bucket half read.
void leave_half_drained(Queue& queue) {
  for (uint64_t i = 0; i < 5000; ++i) queue.push(static_cast<int64_t>(i * i % 7919), i);
  for (uint64_t i = 0; i < 500; ++i) queue.push(3000, i);
  while (queue.now() < 3000) queue.pop();
  for (int i = 0; i < 100; ++i) queue.pop();
}

}  // namespace

TEST_CASE("radix queue: agrees with a stable heap on random streams", "[des]") {
  for (const Gaps gaps : {Gaps::kTies, Gaps::kSmooth, Gaps::kHuge, Gaps::kEveryWidth}) {
    for (const size_t high : {3U, 40U, 2000U}) {
      for (uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed, static_cast<int>(gaps), high);
        Queue queue;
        REQUIRE(agrees_with_reference(queue, seed, gaps, high, 20'000));
      }
    }
  }
}

TEST_CASE("radix queue: a new queue is empty at time 0", "[des]") {
  Queue queue;
  CHECK(queue.empty());
  CHECK(queue.size() == 0);
  CHECK(queue.now() == 0);
  CHECK_FALSE(queue.has_event_now());
  queue.push(0, 7);
  CHECK(queue.has_event_now());
  CHECK(queue.pop().payload == 7);
  CHECK(queue.empty());
}

TEST_CASE("radix queue: any number of equal times leaves in order", "[des]") {
  // Around the numbers of events at which a chunk fills up.
  for (const uint64_t n : {1U, 2U, 30U, 31U, 32U, 61U, 62U, 63U, 93U, 1000U}) {
    for (const int64_t time : {int64_t{0}, int64_t{1}, int64_t{64}, int64_t{1} << 40, kMaxTime}) {
      CAPTURE(n, time);
      Queue queue;
      std::vector<uint64_t> expected;
      for (uint64_t i = 0; i < n; ++i) {
        queue.push(time, i);
        expected.push_back(i);
      }
      CHECK(drain(queue) == expected);
    }
  }
}

TEST_CASE("radix queue: pushes at the current time queue up behind those pending", "[des]") {
  Queue queue;
  queue.push(500, 0);
  queue.push(500, 1);
  queue.push(501, 9);
  CHECK(queue.next_time() == 500);
  CHECK(queue.now() == 0);
  CHECK(queue.pop().payload == 0);
  queue.push(500, 2);
  for (uint64_t i = 1; i < 200; ++i) {  // each event causes one more now: across several chunks
    CHECK(queue.pop().payload == i);
    queue.push(500, i + 2);
  }
  CHECK(queue.pop().payload == 200);
  CHECK(queue.has_event_now());
  CHECK(queue.pop().payload == 201);
  CHECK_FALSE(queue.has_event_now());
  queue.push(500, 300);  // after the time ran dry, before the next is reached
  CHECK(queue.next_time() == 500);
  CHECK(drain(queue) == std::vector<uint64_t>{300, 9});
}

TEST_CASE("radix queue: ties pushed at different times leave in order", "[des]") {
  // The later the push, the lower the level it enters; the earlier ones must have come down first.
  Queue queue;
  const int64_t target = (int64_t{1} << 50) + 12345;
  uint64_t next = 0;
  for (int bit = 50; bit >= 0; --bit) {
    const int64_t step = target - ((int64_t{1} << bit) - 1);
    if (step >= queue.now()) {
      queue.push(step, 1'000'000);
      queue.push(target, next++);
      while (queue.next_time() < target) queue.pop();
    }
  }
  REQUIRE(next > 40);
  for (uint64_t i = 0; i < next; ++i) {
    Queue::Entry e = queue.pop();
    if (e.payload == 1'000'000) e = queue.pop();  // the last step is the target itself
    CHECK(e.payload == i);
  }
}

TEST_CASE("radix queue: looking ahead leaves earlier pushes possible", "[des]") {
  Queue queue;
  queue.push(1'000'000'000'000'000'000, 2);
  CHECK(queue.next_time() == 1'000'000'000'000'000'000);
  queue.push(10, 1);
  CHECK(queue.next_time() == 10);
  CHECK(drain(queue) == std::vector<uint64_t>{1, 2});
  CHECK(queue.now() == 1'000'000'000'000'000'000);
}

TEST_CASE("radix queue: clear forgets events and time, and keeps the memory", "[des]") {
  Queue queue;
  leave_half_drained(queue);
  const size_t capacity = queue.capacity();
  REQUIRE(capacity > 0);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    queue.clear();
    CHECK(queue.empty());
    CHECK(queue.now() == 0);
    CHECK_FALSE(queue.has_event_now());
    CHECK(agrees_with_reference(queue, seed, Gaps::kTies, 200, 2000));
    queue.clear();
    leave_half_drained(queue);  // a chunk that clear loses would make the pool grow in the end
  }
  CHECK(queue.capacity() == capacity);
}

TEST_CASE("radix queue: nothing allocates within the reserved capacity", "[des]") {
  for (const Gaps gaps : {Gaps::kTies, Gaps::kSmooth, Gaps::kHuge, Gaps::kEveryWidth}) {
    Queue queue;
    queue.reserve(1500);
    const size_t capacity = queue.capacity();
    REQUIRE(capacity >= 1500);
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      CAPTURE(seed, static_cast<int>(gaps));
      CHECK(agrees_with_reference(queue, seed, gaps, capacity, 100'000));
      queue.clear();
    }
    CHECK(queue.capacity() == capacity);
  }
}

TEST_CASE("radix queue: the pool stops growing at a constant number pending", "[des]") {
  constexpr uint64_t kSeed = 20240601;
  CAPTURE(kSeed);
  Rng rng(kSeed);
  Queue queue;
  queue.reserve(10'000);
  const size_t capacity = queue.capacity();
  for (uint64_t i = 0; i < capacity; ++i) queue.push(draw(rng, 0, 1'000'000), i);
  for (int i = 0; i < 500'000; ++i) {
    const Queue::Entry e = queue.pop();
    queue.push(e.time + draw_gap(rng, i % 100'000 < 50'000 ? Gaps::kTies : Gaps::kSmooth),
               e.payload);
  }
  CHECK(queue.size() == capacity);
  CHECK(queue.capacity() == capacity);
}

}  // namespace orrery
