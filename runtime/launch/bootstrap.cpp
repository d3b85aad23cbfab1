#include "runtime/launch/bootstrap.h"

#include <fmt/format.h>

#include <mutex>

#include "runtime/launch/handshake.h"
#include "runtime/launch/links.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

// A result: the number of parts, then each as its length and bytes.
std::string pack(const std::vector<std::string_view>& parts) {
  std::string bytes;
  append_number(bytes, parts.size(), 8);
  for (const std::string_view part : parts) {
    append_number(bytes, part.size(), 8);
    bytes += part;
  }
  return bytes;
}

// Nothing when the bytes are no such list.
std::optional<std::vector<std::string>> unpack(std::string_view bytes) {
  const auto take_number = [&bytes](uint64_t& value) {
    if (bytes.size() < 8) return false;
    value = read_number(bytes, 0, 8);
    bytes.remove_prefix(8);
    return true;
  };
  uint64_t count = 0, size = 0;
  if (!take_number(count)) return {};
  std::vector<std::string> parts;
  for (uint64_t i = 0; i < count; ++i) {
    if (!take_number(size) || size > bytes.size()) return {};
    parts.emplace_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  if (!bytes.empty()) return {};
  return parts;
}

}  // namespace

struct Bootstrap::Alone {
  std::mutex mutex;
  std::optional<std::string> reason;
};

Bootstrap::Bootstrap(const RankInfo& info, const BootstrapOptions& options)
    : rank_(info.rank), size_(info.world_size), max_bytes_(options.max_bytes) {
  if (size_ == 1) {
    alone_ = std::make_unique<Alone>();
    return;
  }
  const Deadline deadline = after(options.connect_timeout);
  std::vector<Fd> connections;
  if (rank_ == 0) {
    connections = accept_ranks(info, deadline);
  } else {
    connections.push_back(connect_to_root(info, deadline));
  }
  const std::size_t parts = rank_ == 0 ? 1 : static_cast<std::size_t>(size_);
  links_ = std::make_unique<Links>(rank_, std::move(connections), parts * (max_bytes_ + 8) + 8);
}

Bootstrap::~Bootstrap() = default;

void Bootstrap::barrier(Deadline deadline) { exchange(BootstrapOp::kBarrier, "", deadline); }

std::string Bootstrap::broadcast(std::string_view bytes, Deadline deadline) {
  return exchange(BootstrapOp::kBroadcast, rank_ == 0 ? bytes : "", deadline).front();
}

std::vector<std::string> Bootstrap::all_gather(std::string_view bytes, Deadline deadline) {
  return exchange(BootstrapOp::kAllGather, bytes, deadline);
}

void Bootstrap::finish(Deadline deadline) {
  exchange(BootstrapOp::kFinish, "", deadline);
  // The process may end at once, but the others must have the answer before.
  if (links_) links_->flush(deadline);
}

std::vector<std::string> Bootstrap::exchange(BootstrapOp op, std::string_view bytes,
                                             Deadline deadline) {
  if (bytes.size() > max_bytes_) {
    throw Error(ExitCode::kInternal,
                fmt::format("bootstrap {}: found {} bytes, expected at most {}", name_of(op),
                            bytes.size(), max_bytes_));
  }
  throw_if_aborted(op);
  if (!links_) return {std::string(bytes)};
  ++sequence_;
  auto parts =
      unpack(rank_ == 0 ? gather_and_answer(op, bytes, deadline) : contribute(op, bytes, deadline));
  const bool whole =
      parts && (op == BootstrapOp::kAllGather ? parts->size() == static_cast<std::size_t>(size_)
                                              : parts->size() == 1);
  if (!whole) fail(op, "rank 0 sent a result that cannot be read");
  return std::move(*parts);
}

std::string Bootstrap::gather_and_answer(BootstrapOp op, std::string_view bytes,
                                         Deadline deadline) {
  const auto frames = links_->take_all(deadline);
  if (!frames) {
    throw_if_aborted(op);
    fail(op, fmt::format("{} did not take part in time", ranks_text(links_->silent_ranks())));
  }
  std::vector<std::string_view> parts = {bytes};
  for (std::size_t i = 0; i < frames->size(); ++i) {
    const Frame& frame = (*frames)[i];
    if (frame.type != FrameType::kContribution || frame.op != op || frame.sequence != sequence_) {
      fail(op, fmt::format("rank 0's operation {} is {}, but rank {}'s is number {}, {}", sequence_,
                           name_of(op), i + 1, frame.sequence, name_of(frame.op)));
    }
    if (op == BootstrapOp::kAllGather) parts.push_back(frame.payload);
  }
  Frame result;
  result.type = FrameType::kResult;
  result.op = op;
  result.sequence = sequence_;
  result.payload = pack(parts);
  if (op == BootstrapOp::kFinish) links_->expect_leaving();
  links_->send(result);
  return std::move(result.payload);
}

std::string Bootstrap::contribute(BootstrapOp op, std::string_view bytes, Deadline deadline) {
  Frame frame;
  frame.op = op;
  frame.sequence = sequence_;
  frame.payload = bytes;
  links_->send(frame);
  auto answer = links_->take_all(deadline);
  if (!answer) {
    throw_if_aborted(op);
    fail(op, "rank 0 did not answer in time");
  }
  Frame& result = answer->front();
  if (result.type != FrameType::kResult || result.op != op || result.sequence != sequence_) {
    fail(op, "rank 0 answered another operation");
  }
  return std::move(result.payload);
}

void Bootstrap::fail(BootstrapOp op, const std::string& why) {
  abort(fmt::format("bootstrap {}: {}", name_of(op), why));
  throw Error(ExitCode::kTimeout, *aborted());
}

void Bootstrap::throw_if_aborted(BootstrapOp op) const {
  if (const auto reason = aborted()) {
    throw Error(ExitCode::kTimeout, fmt::format("bootstrap {}: {}", name_of(op), *reason));
  }
}

void Bootstrap::abort(const std::string& reason) {
  const std::string text = fmt::format("rank {}: {}", rank_, reason);
  if (links_) return links_->abort(text);
  const std::lock_guard lock(alone_->mutex);
  if (!alone_->reason) alone_->reason = text;
}

std::optional<std::string> Bootstrap::aborted() const {
  if (links_) return links_->is_aborted() ? std::optional(links_->reason()) : std::nullopt;
  const std::lock_guard lock(alone_->mutex);
  return alone_->reason;
}

}  // namespace orrery
