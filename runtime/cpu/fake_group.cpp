#include "runtime/cpu/fake_group.h"

#include <algorithm>

#include "runtime/cpu/activation_collectives.h"
#include "runtime/io/counter_random.h"

namespace orrery {
namespace {

constexpr uint64_t kNoiseKey = 1;

template <class T>
void fake_exchange(RowExchange<T>& x) {
  x.receive = x.send;
  x.receive_ints = x.send_ints;
  x.receive_extra = x.send_extra;
  x.received = *x.to;
}

template <class T>
void fake_gather(int64_t members, int64_t position, Collective<T>& x) {
  const int64_t part = x.elements / members;
  const T* own = x.data + position * part;
  for (int64_t r = 0; r < members; ++r)
    if (r != position) std::copy_n(own, part, x.data + r * part);
}

template <class T>
void fake_receive(HostTensor<T>& out) {
  for (std::size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = static_cast<T>(symmetric(counter_random(kNoiseKey, i)));
}

// Copies in the peers' places, whose results nobody reads.
template <class T>
void fake_on_activations(const Op& op, int64_t members, int64_t position, Collective<T>& own) {
  struct Peer {
    Collective<T> call;
    std::vector<HostTensor<T>> out;
  };
  std::vector<Peer> peers(static_cast<std::size_t>(members));
  std::vector<void*> all;
  for (Peer& p : peers) {
    p.call = own;
    for (std::size_t i = 0; i < own.out.size(); ++i) p.out.push_back(*own.out[i]);
    for (std::size_t i = 0; i < own.out.size(); ++i) p.call.out[i] = &p.out[i];
    all.push_back(&p.call);
  }
  all[static_cast<std::size_t>(position)] = &own;
  activation_work<T>(op.kind)(all);
}

}  // namespace

template <class T>
void fake_collective(const Op& op, int64_t members, int64_t position, Collective<T>& own) {
  if (on_activations(op)) return fake_on_activations(op, members, position, own);
  switch (op.kind) {
    case OpKind::kDispatch:
    case OpKind::kCombine:
      return fake_exchange(own.rows);
    case OpKind::kAllGather:
      return fake_gather(members, position, own);
    case OpKind::kRecv:
      return fake_receive(*own.receive);
    default:
      return;  // kNotify, kSend, sums
  }
}

template void fake_collective<float>(const Op&, int64_t, int64_t, Collective<float>&);
template void fake_collective<double>(const Op&, int64_t, int64_t, Collective<double>&);

}  // namespace orrery
