// The plan's collectives between CPU ranks: what each member brings, what the last to arrive does
// for all, and what each member does when it is done.
#pragma once

#include <span>
#include <vector>

#include "runtime/cpu/communicator.h"
#include "runtime/cpu/optimizer_ops.h"

namespace orrery {

// Rows to and from the ranks of an expert-parallel group.
template <class T>
struct RowExchange {
  int64_t cols = 0;
  std::vector<T> send, receive;
  std::vector<int32_t> send_ints, receive_ints;  // routing
  int64_t int_cols = 0;
  std::vector<T> send_extra, receive_extra;  // routing weights, or their gradients
  int64_t extra_cols = 0;
  // Rows for (from) each rank, as exclusive prefixes; which way decides the op.
  const std::vector<int64_t>* to = nullptr;
  std::vector<int64_t> received;  // filled by the exchange
};

template <class T>
struct Collective {
  uint32_t plan_op = 0;
  T* data = nullptr;  // reductions, gathers
  int64_t elements = 0;
  MatrixStack matrices;            // of a share that is split by whole matrices
  std::vector<T>* send = nullptr;  // P2P: from its element `first` on
  int64_t first = 0;
  HostTensor<T>* receive = nullptr;
  RowExchange<T> rows;
  // Collectives on activations: operands in and out, and for sums that are split the rows that this
  // rank gets.
  std::vector<HostTensor<T>*> in, out;
  int64_t own_rows = 0;
  OpShape shape;
};

// The arguments of a communicator's work, one of every member.
template <class T>
std::vector<Collective<T>*> members(std::span<void* const> arguments) {
  std::vector<Collective<T>*> all;
  for (void* a : arguments) all.push_back(static_cast<Collective<T>*>(a));
  return all;
}

template <class T>
Collective<T> make_collective(OpCall<T>& c, CpuState<T>& state, RoutingState& routing);
template <class T>
ThreadCommunicator::Work collective_work(const Op& op);
template <class T>
void complete_collective(OpCall<T>& c, CpuState<T>& state, Collective<T>& done,
                         RoutingState& routing);

}  // namespace orrery
