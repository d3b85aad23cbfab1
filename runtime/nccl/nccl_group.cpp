#include "runtime/nccl/nccl_group.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace orrery {
namespace {

constexpr int kOldest = 21900;  // ncclConfig_t and non-blocking group calls as used here
constexpr auto kCallTime = std::chrono::minutes(2);

std::size_t count(int64_t n) { return static_cast<std::size_t>(n); }

bool equal(const std::vector<ShardRange>& parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const ShardRange& part) {
    return part.elements == parts.front().elements;
  });
}

// Whether each member has as many rows; begin: of each member's, and the end.
bool equal_rows(const std::vector<int64_t>& begin) {
  for (std::size_t r = 1; r < begin.size(); ++r)
    if (begin[r] - begin[r - 1] != begin[1]) return false;
  return true;
}

}  // namespace

void check_nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess || version < kOldest)
    throw Error(ExitCode::kUnavailable,
                fmt::format("NCCL {}.{}.{} is too old: several ranks need 2.19 or newer",
                            version / 10000, version / 100 % 100, version % 100));
}

ncclUniqueId make_nccl_id() {
  ncclUniqueId id;
  const ncclResult_t r = ncclGetUniqueId(&id);
  if (r != ncclSuccess)
    throw Error(ExitCode::kUnavailable,
                fmt::format("NCCL cannot start: {} ({})", ncclGetErrorString(r),
                            ncclGetLastError(nullptr)));
  return id;
}

NcclGroup::NcclGroup(std::string name, const ncclUniqueId& id, int size, int position,
                     Deadline deadline)
    : name_(std::move(name)), size_(size), position_(position), deadline_(deadline) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  try {
    check(ncclCommInitRankConfig(&comm_, size, id, position, &config), "connecting");
  } catch (const Error&) {
    if (comm_ != nullptr) ncclCommAbort(comm_);
    throw;
  }
  deadline_ = Deadline::max();
}

NcclGroup::~NcclGroup() {
  // Not destroyed: that would wait for peers, which may be gone.
  if (comm_ != nullptr) ncclCommAbort(comm_);
}

void NcclGroup::check(ncclResult_t result, const char* call) {
  const Deadline end = std::min(deadline_, after(kCallTime));
  while (result == ncclInProgress) {
    if (passed(end))
      throw Error(ExitCode::kTimeout,
                  fmt::format("NCCL group {}: {} (number {}) did not start in time: a peer is gone "
                              "or stuck",
                              name_, call, sequence_));
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
    if (asked != ncclSuccess) result = asked;
  }
  if (result == ncclSuccess) {
    ++sequence_;
    return;
  }
  throw Error(ExitCode::kFailure,
              fmt::format("NCCL group {}: {} (number {}) failed: {} ({})", name_, call, sequence_,
                          ncclGetErrorString(result), ncclGetLastError(comm_)));
}

void NcclGroup::all_reduce(float* data, int64_t n, cudaStream_t stream) {
  check(ncclAllReduce(data, data, count(n), ncclFloat, ncclSum, comm_, stream), "all-reduce");
}

template <class PostAll>
void NcclGroup::grouped(const char* name, PostAll post_all) {
  ncclResult_t r = ncclGroupStart();
  const auto fine = [&] { return r == ncclSuccess || r == ncclInProgress; };
  post_all([&](auto call) {
    if (fine()) r = call();
  });
  const ncclResult_t end = ncclGroupEnd();
  check(fine() ? end : r, name);
}

// Parts of different sizes are a reduction or broadcast each, as PyTorch does it.
template <class Post>
void NcclGroup::for_each_part(const std::vector<ShardRange>& parts, const char* name, Post post) {
  grouped(name, [&](auto run) {
    for (int root = 0; root < size_; ++root) {
      const ShardRange& part = parts[count(root)];
      if (part.elements > 0) run([&] { return post(part, root); });
    }
  });
}

void NcclGroup::reduce_scatter(float* data, const std::vector<ShardRange>& parts,
                               cudaStream_t stream) {
  const ShardRange& mine = parts[count(position_)];
  if (equal(parts))
    return check(ncclReduceScatter(data, data + mine.begin, count(mine.elements), ncclFloat,
                                   ncclSum, comm_, stream),
                 "reduce-scatter");
  for_each_part(parts, "reduce-scatter", [&](const ShardRange& part, int root) {
    return ncclReduce(data + part.begin, data + part.begin, count(part.elements), ncclFloat,
                      ncclSum, root, comm_, stream);
  });
}

void NcclGroup::all_gather(kernels::bf16* data, const std::vector<ShardRange>& parts,
                           cudaStream_t stream) {
  const ShardRange& mine = parts[count(position_)];
  if (equal(parts))
    return check(
        ncclAllGather(data + mine.begin, data, count(mine.elements), ncclBfloat16, comm_, stream),
        "all-gather");
  for_each_part(parts, "all-gather", [&](const ShardRange& part, int root) {
    return ncclBroadcast(data + part.begin, data + part.begin, count(part.elements), ncclBfloat16,
                         root, comm_, stream);
  });
}

void NcclGroup::all_gather(const std::vector<Gathered>& arrays, const std::vector<int64_t>& begin,
                           cudaStream_t stream) {
  const bool equal = equal_rows(begin);
  grouped("all-gather", [&](auto run) {
    for (const Gathered& a : arrays) {
      if (equal) {
        run([&] {
          return ncclAllGather(a.own, a.all, count(begin[1] * a.row_bytes), ncclInt8, comm_,
                               stream);
        });
        continue;
      }
      for (int root = 0; root < size_; ++root) {
        const int64_t first = begin[count(root)], rows = begin[count(root) + 1] - first;
        if (rows > 0)
          run([&] {
            return ncclBroadcast(a.own, static_cast<char*>(a.all) + first * a.row_bytes,
                                 count(rows * a.row_bytes), ncclInt8, root, comm_, stream);
          });
      }
    }
  });
}

void NcclGroup::all_reduce(const kernels::bf16* x, kernels::bf16* sum, int64_t n,
                           cudaStream_t stream) {
  check(ncclAllReduce(x, sum, count(n), ncclBfloat16, ncclSum, comm_, stream), "all-reduce");
}

void NcclGroup::reduce_scatter(const std::vector<Summed>& arrays, const std::vector<int64_t>& begin,
                               cudaStream_t stream) {
  const bool equal = equal_rows(begin);
  grouped("reduce-scatter", [&](auto run) {
    for (const Summed& a : arrays) {
      const ncclDataType_t type = a.fp32 ? ncclFloat : ncclBfloat16;
      if (equal) {
        run([&] {
          return ncclReduceScatter(a.all, a.own, count(begin[1] * a.row_elements), type, ncclSum,
                                   comm_, stream);
        });
        continue;
      }
      for (int root = 0; root < size_; ++root) {
        const int64_t first = begin[count(root)], rows = begin[count(root) + 1] - first;
        const int64_t bytes = first * a.row_elements * (a.fp32 ? 4 : 2);
        if (rows > 0)
          run([&] {
            return ncclReduce(static_cast<const char*>(a.all) + bytes, a.own,
                              count(rows * a.row_elements), type, ncclSum, root, comm_, stream);
          });
      }
    }
  });
}

void NcclGroup::shift(const std::vector<Shifted>& arrays, int64_t to, int64_t from,
                      cudaStream_t stream) {
  const int next = static_cast<int>(to), previous = static_cast<int>(from);
  grouped("shift", [&](auto run) {
    for (const Shifted& a : arrays) {
      run([&] { return ncclSend(a.send, count(a.bytes), ncclInt8, next, comm_, stream); });
      run([&] { return ncclRecv(a.receive, count(a.bytes), ncclInt8, previous, comm_, stream); });
    }
  });
}

void NcclGroup::send(const void* data, int64_t bytes, int64_t to, cudaStream_t stream) {
  check(ncclSend(data, count(bytes), ncclInt8, static_cast<int>(to), comm_, stream), "send");
}

void NcclGroup::receive(void* data, int64_t bytes, int64_t from, cudaStream_t stream) {
  check(ncclRecv(data, count(bytes), ncclInt8, static_cast<int>(from), comm_, stream), "receive");
}

void NcclGroup::exchange(const std::vector<Rows>& arrays, const std::vector<int64_t>& to,
                         const std::vector<int64_t>& from, cudaStream_t stream) {
  const auto range = [](const std::vector<int64_t>& prefix, int r) {
    const auto at = static_cast<std::size_t>(r);
    return std::pair{prefix[at], prefix[at + 1] - prefix[at]};
  };
  for (const Rows& a : arrays) {
    const int64_t to_self = range(to, position_).first, from_self = range(from, position_).first;
    cuda_check(cudaMemcpyAsync(static_cast<char*>(a.receive) + from_self * a.row_bytes,
                               static_cast<const char*>(a.send) + to_self * a.row_bytes,
                               count(range(to, position_).second * a.row_bytes),
                               cudaMemcpyDeviceToDevice, stream),
               "copying own rows");
  }
  grouped("all-to-all", [&](auto run) {
    for (const Rows& a : arrays) {
      const auto* source = static_cast<const char*>(a.send);
      auto* target = static_cast<char*>(a.receive);
      for (int peer = 0; peer < size_; ++peer) {
        if (peer == position_) continue;
        const auto send = range(to, peer), receive = range(from, peer);
        if (send.second > 0)
          run([&] {
            return ncclSend(source + send.first * a.row_bytes, count(send.second * a.row_bytes),
                            ncclInt8, peer, comm_, stream);
          });
        if (receive.second > 0)
          run([&] {
            return ncclRecv(target + receive.first * a.row_bytes,
                            count(receive.second * a.row_bytes), ncclInt8, peer, comm_, stream);
          });
      }
    }
  });
}

void NcclGroup::warm_up(Deadline deadline) {
  deadline_ = deadline;
  const CudaStream stream;
  const DeviceArray memory(count(8 * int64_t{size_}));
  all_reduce(memory.as<float>(), 1, stream.get());
  std::vector<int64_t> one;
  for (int64_t i = 0; i <= size_; ++i) one.push_back(i);
  exchange({{memory.as<char>(), memory.as<char>() + 4 * size_, 4}}, one, one, stream.get());
  while (cudaStreamQuery(stream.get()) == cudaErrorNotReady) {
    if (passed(deadline))
      throw Error(ExitCode::kTimeout,
                  fmt::format("NCCL group {}: the first transfer did not end in time", name_));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  stream.synchronise();
  deadline_ = Deadline::max();
}

}  // namespace orrery
