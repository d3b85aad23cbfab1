#include "sim/net/chunk.h"

#include <algorithm>
#include <cmath>
#include <queue>

#include "sim/base/error.h"

namespace orrery {
namespace {

// Runs messages: events are latencies that pass and flows that end.
class MessageRun {
 public:
  MessageRun(std::span<const double> rates, const std::vector<Message>& messages)
      : messages_(messages),
        solver_(std::vector<double>(rates.begin(), rates.end())),
        active_(messages.size(), 0),
        waits_(messages.size(), 0),
        state_(messages.size(), State::kWaiting),
        next_(messages.size(), UINT32_MAX),
        followers_(messages.size()),
        left_(messages.size()),
        rate_(messages.size(), 0),
        since_(messages.size(), 0),
        epoch_(messages.size(), 0) {
    for (uint32_t m = 0; m < messages.size(); ++m) {
      left_[m] = messages[m].bytes;
      waits_[m] = static_cast<uint32_t>(messages[m].after.size());
      for (uint32_t before : messages[m].after) followers_[before].push_back(m);
      if (messages[m].behind != UINT32_MAX) next_[messages[m].behind] = m;
      solver_.add(messages[m].path, messages[m].weight,
                  messages[m].path.empty() ? 1e30 : FlowSolver::kUncapped);
    }
  }

  double run() {
    for (uint32_t m = 0; m < messages_.size(); ++m)
      if (waits_[m] == 0) launch(m);
    while (!events_.empty()) {
      now_ = events_.top().time;
      // All that happens at this time, then rates once.
      while (!events_.empty() && events_.top().time <= now_) {
        const Event e = events_.top();
        events_.pop();
        if (e.epoch != epoch_[e.message]) continue;
        if (e.starts)
          start(e.message);
        else
          end(e.message);
      }
      set_rates();
    }
    if (done_ != messages_.size())
      throw Error(ExitCode::kInternal, "messages of a collective wait for each other");
    return now_;
  }

 private:
  struct Event {
    double time;
    uint32_t message;
    uint32_t epoch;
    bool starts;
    bool operator>(const Event& o) const {
      return time != o.time ? time > o.time : message > o.message;
    }
  };

  void launch(uint32_t m) { events_.push({now_ + messages_[m].latency_s, m, epoch_[m], true}); }

  void start(uint32_t m) {
    ++epoch_[m];
    const uint32_t before = messages_[m].behind;
    if (before != UINT32_MAX && state_[before] != State::kSent) {
      state_[m] = State::kQueued;
      return;
    }
    if (messages_[m].bytes <= 0) return end(m);
    state_[m] = State::kSending;
    active_[m] = 1;
    since_[m] = now_;
    changed_.push_back(m);
  }

  void end(uint32_t m) {
    ++epoch_[m];
    ++done_;
    if (active_[m]) active_[m] = 0, changed_.push_back(m);
    state_[m] = State::kSent;
    if (next_[m] != UINT32_MAX && state_[next_[m]] == State::kQueued) start(next_[m]);
    for (uint32_t f : followers_[m])
      if (--waits_[f] == 0) launch(f);
  }

  void set_rates() {
    if (changed_.empty()) return;
    const std::vector<double>& rates = solver_.solve_component(changed_, active_);
    changed_.clear();
    for (uint32_t m : solver_.component()) {
      if (rates[m] == rate_[m]) continue;
      left_[m] = std::max(0.0, left_[m] - rate_[m] * (now_ - since_[m]));
      since_[m] = now_;
      rate_[m] = rates[m];
      expect(m);
    }
  }

  void expect(uint32_t m) { events_.push({now_ + left_[m] / rate_[m], m, ++epoch_[m], false}); }

  enum class State : uint8_t { kWaiting, kQueued, kSending, kSent };

  const std::vector<Message>& messages_;
  FlowSolver solver_;
  std::vector<uint8_t> active_;
  std::vector<uint32_t> waits_;
  std::vector<State> state_;
  std::vector<uint32_t> next_;  // that is behind a message
  std::vector<std::vector<uint32_t>> followers_;
  std::vector<double> left_, rate_, since_;
  std::vector<uint32_t> epoch_, changed_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::size_t done_ = 0;
  double now_ = 0;
};

}  // namespace

double run_messages(std::span<const double> link_rate, const std::vector<Message>& messages) {
  return MessageRun(link_rate, messages).run();
}

}  // namespace orrery
