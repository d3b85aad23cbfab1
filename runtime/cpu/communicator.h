// Collectives between ranks that are threads of one process. Members of a group meet at each
// operation in order; the last to arrive does the work for all.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace orrery {

class ThreadCommunicator {
 public:
  // Before the ranks' threads start a step.
  void begin(int64_t ranks) {
    ranks_ = ranks;
    waiting_ = 0;
  }

  struct Group;
  // The group of that name, made by the first member that asks.
  Group* group(const std::string& name, int64_t size);

  // What one member brings to an operation; stays its own until the operation is done.
  struct Ticket {
    bool done = false;
  };
  using Work = std::function<void(std::span<void* const>)>;  // arguments in order of position
  // Does not block. `work` runs once, in the last member's call.
  void arrive(Group* group, int64_t position, void* argument, Ticket* ticket, const Work& work);

  // Blocks the rank until one of its tickets may have been done since `seen`, an earlier result.
  // Throws when every rank is blocked: a deadlock; or when another rank failed.
  uint64_t wait_for_change(uint64_t seen);
  // The rank needs nothing more from the others.
  void leave();
  // Wakes all waiting ranks with an error.
  void fail(const std::string& reason);
  bool is_done(const Ticket& t) const;

 private:
  void check() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Group> groups_;
  int64_t ranks_ = 0, waiting_ = 0;
  uint64_t changes_ = 0;
  std::string failure_;
};

struct ThreadCommunicator::Group {
  std::string name;
  std::vector<void*> arguments;
  std::vector<Ticket*> tickets;
  int64_t here = 0;
};

}  // namespace orrery
