#include "runtime/cpu/communicator.h"

#include "sim/base/error.h"

namespace orrery {

ThreadCommunicator::Group* ThreadCommunicator::group(const std::string& name, int64_t size) {
  const std::lock_guard lock(mutex_);
  Group& g = groups_[name];
  g.name = name;
  g.arguments.resize(static_cast<std::size_t>(size));
  g.tickets.resize(static_cast<std::size_t>(size));
  return &g;
}

void ThreadCommunicator::arrive(Group* group, int64_t position, void* argument, Ticket* ticket,
                                const Work& work) {
  const std::lock_guard lock(mutex_);
  group->arguments[static_cast<std::size_t>(position)] = argument;
  group->tickets[static_cast<std::size_t>(position)] = ticket;
  ticket->done = false;
  if (++group->here < static_cast<int64_t>(group->arguments.size())) return;
  work(group->arguments);
  group->here = 0;
  for (Ticket* t : group->tickets) t->done = true;
  ++changes_;
  waiting_ = 0;
  changed_.notify_all();
}

bool ThreadCommunicator::is_done(const Ticket& t) const {
  const std::lock_guard lock(mutex_);
  return t.done;
}

void ThreadCommunicator::check() const {
  if (!failure_.empty()) throw Error(ExitCode::kFailure, failure_);
}

uint64_t ThreadCommunicator::wait_for_change(uint64_t seen) {
  std::unique_lock lock(mutex_);
  check();
  if (changes_ != seen) return changes_;
  if (++waiting_ == ranks_) {
    failure_ = "every rank waits for another: the plan deadlocks";
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return changes_ != seen || !failure_.empty(); });
  check();
  return changes_;
}

void ThreadCommunicator::leave() {
  const std::lock_guard lock(mutex_);
  --ranks_;
  if (ranks_ > 0 && waiting_ == ranks_) {
    failure_ = "every rank that is left waits for another: the plan deadlocks";
    changed_.notify_all();
  }
}

void ThreadCommunicator::fail(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = reason;
  changed_.notify_all();
}

}  // namespace orrery
