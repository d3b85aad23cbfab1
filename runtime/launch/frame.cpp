#include "runtime/launch/frame.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace orrery {
namespace {

constexpr std::size_t kHeader = 16;
constexpr std::size_t kReadBytes = 64 << 10;

bool known(uint64_t type, uint64_t op) {
  return type >= static_cast<uint64_t>(FrameType::kContribution) &&
         type <= static_cast<uint64_t>(FrameType::kAbort) &&
         op <= static_cast<uint64_t>(BootstrapOp::kFinish);
}

}  // namespace

std::string_view name_of(BootstrapOp op) {
  switch (op) {
    case BootstrapOp::kBarrier:
      return "barrier";
    case BootstrapOp::kBroadcast:
      return "broadcast";
    case BootstrapOp::kAllGather:
      return "all_gather";
    case BootstrapOp::kFinish:
      return "finish";
  }
  return "operation";
}

void append_number(std::string& out, uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

uint64_t read_number(std::string_view in, std::size_t at, std::size_t bytes) {
  uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(in[at + i])) << (8 * i);
  }
  return value;
}

void FrameStream::queue(const Frame& frame) {
  if (broken()) return;
  append_number(out_, static_cast<uint64_t>(frame.type), 1);
  append_number(out_, static_cast<uint64_t>(frame.op), 1);
  append_number(out_, 0, 2);
  append_number(out_, frame.sequence, 4);
  append_number(out_, frame.payload.size(), 8);
  out_ += frame.payload;
}

void FrameStream::flush() {
  while (!idle()) {
    const ssize_t n =
        ::send(fd_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      sent_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      // What the peer said before it went away is still to be received.
      break;
    }
  }
  out_.clear();
  sent_ = 0;
}

bool FrameStream::take_frame(Frame& frame) {
  const std::string_view rest = std::string_view(in_).substr(taken_);
  if (rest.size() < kHeader) return false;
  const uint64_t type = read_number(rest, 0, 1), op = read_number(rest, 1, 1);
  const uint64_t size = read_number(rest, 8, 8);
  if (!known(type, op) || size > max_payload_) {
    fd_.reset();
    return false;
  }
  if (rest.size() - kHeader < size) return false;
  frame.type = static_cast<FrameType>(type);
  frame.op = static_cast<BootstrapOp>(op);
  frame.sequence = static_cast<uint32_t>(read_number(rest, 4, 4));
  frame.payload = rest.substr(kHeader, size);
  taken_ += kHeader + size;
  return true;
}

void FrameStream::receive(std::vector<Frame>& frames) {
  std::array<char, kReadBytes> block;
  while (!broken()) {
    const ssize_t n = ::recv(fd_.get(), block.data(), block.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return fd_.reset();
    in_.append(block.data(), static_cast<std::size_t>(n));
    for (Frame frame; take_frame(frame);) frames.push_back(std::move(frame));
    in_.erase(0, std::exchange(taken_, 0));
  }
}

}  // namespace orrery
