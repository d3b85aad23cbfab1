// Nanoseconds per pop + push at a constant number pending (the "hold" model), for the radix queue
// and for the standard heap with a sequence number, which must pop in the same order.
#include <boost/random/mersenne_twister.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "sim/des/radix_queue.h"
#include "tests/perf/bench.h"

namespace orrery {
namespace {

class StdQueue {
 public:
  struct Entry {
    int64_t time;
    uint64_t payload;
    uint64_t sequence;
    bool operator<(const Entry& o) const {
      return time != o.time ? time > o.time : sequence > o.sequence;
    }
  };
  void push(int64_t time, uint64_t payload) { heap_.push({time, payload, sequence_++}); }
  Entry pop() {
    const Entry e = heap_.top();
    heap_.pop();
    return e;
  }

 private:
  std::priority_queue<Entry> heap_;
  uint64_t sequence_ = 0;
};

constexpr uint64_t kSeed = 1;
constexpr uint64_t kOperations = 2'000'000;
constexpr size_t kIncrements = size_t{1} << 16;  // a power of two; drawn ahead, outside the timing

// smooth: up to 2 ms ahead, hardly ever equal. ties: 1 ns to 1 us ahead, a few round values.
std::vector<int64_t> increments(bool ties) {
  constexpr int64_t kTies[] = {1000, 2000, 5000, 10'000, 20'000, 50'000, 100'000, 1'000'000};
  boost::random::mt19937_64 rng(kSeed);
  boost::random::uniform_int_distribution<size_t> pick(0, std::size(kTies) - 1);
  boost::random::uniform_int_distribution<int64_t> smooth(1, 2'000'000'000);
  std::vector<int64_t> v(kIncrements);
  for (int64_t& x : v) x = ties ? kTies[pick(rng)] : smooth(rng);
  return v;
}

template <class Queue>
struct State {
  Queue queue;
  std::vector<int64_t> increment;
  size_t next = 0;

  uint64_t hold(uint64_t operations) {
    uint64_t hash = 0;
    for (uint64_t i = 0; i < operations; ++i) {
      const auto e = queue.pop();
      hash = Bench::mix(hash, e.payload);
      push_after(e.time, e.payload);
    }
    return hash;
  }
  void push_after(int64_t time, uint64_t payload) {
    queue.push(time + increment[next++ & (kIncrements - 1)], payload);
  }
};

template <class Queue>
uint64_t run(Bench& bench, const std::string& queue_name, bool ties, uint64_t pending) {
  const auto setup = [&] {
    auto state = std::make_unique<State<Queue>>();
    state->increment = increments(ties);
    // An extra offset, so that the smooth mix does not begin with the 2^16 times of the table.
    boost::random::mt19937_64 rng(kSeed + 1);
    boost::random::uniform_int_distribution<int64_t> offset(0, ties ? 0 : 1000);
    for (uint64_t i = 0; i < pending; ++i) state->push_after(offset(rng), i);
    state->hold(2 * pending);  // into the steady state
    return state;
  };
  const auto work = [](std::unique_ptr<State<Queue>>& state) { return state->hold(kOperations); };
  const std::string mix = ties ? "/ties/" : "/smooth/";
  return bench.run(queue_name + mix + std::to_string(pending), kOperations, setup, work);
}

int run_all(int argc, char** argv) {
  Bench bench(argc, argv);
  for (const bool ties : {false, true}) {
    for (const uint64_t pending : {1000U, 10'000U, 30'000U, 100'000U, 1'000'000U}) {
      const uint64_t radix = run<RadixQueue<uint64_t>>(bench, "radix", ties, pending);
      const uint64_t std_heap = run<StdQueue>(bench, "std", ties, pending);
      if (radix != std_heap && radix != 0 && std_heap != 0) {
        std::fprintf(stderr, "the queues popped in different orders\n");
        return EXIT_FAILURE;
      }
    }
  }
  return bench.finish();
}

}  // namespace
}  // namespace orrery

int main(int argc, char** argv) { return orrery::run_all(argc, argv); }
