// Framed messages over one connection of the bootstrap.
//
// A frame is a 16-byte header (type, operation, 2 zero bytes, sequence, payload length; numbers
// little-endian) and the payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/launch/socket.h"

namespace orrery {

enum class FrameType : uint8_t {
  kContribution = 1,  // a rank's part of an operation, to rank 0
  kResult,            // the whole, from rank 0
  kAbort,             // the payload is the reason
};

// A collective operation of the bootstrap. kFinish: afterwards ranks may leave.
enum class BootstrapOp : uint8_t { kBarrier, kBroadcast, kAllGather, kFinish };
std::string_view name_of(BootstrapOp op);

struct Frame {
  FrameType type = FrameType::kContribution;
  BootstrapOp op = BootstrapOp::kBarrier;
  uint32_t sequence = 0;
  std::string payload;
};

void append_number(std::string& out, uint64_t value, std::size_t bytes);
uint64_t read_number(std::string_view in, std::size_t at, std::size_t bytes);

class FrameStream {
 public:
  // Frames with a longer payload break the connection.
  FrameStream(Fd fd, std::size_t max_payload) : fd_(std::move(fd)), max_payload_(max_payload) {}

  const Fd& fd() const { return fd_; }
  bool broken() const { return !fd_.valid(); }
  bool idle() const { return broken() || out_.size() == sent_; }  // nothing is left to send

  void queue(const Frame& frame);
  // Sends what the socket takes now; drops everything once the peer takes no more.
  void flush();
  // Appends the frames that have arrived, and closes the socket once the peer has, or has sent
  // something that is no frame.
  void receive(std::vector<Frame>& frames);

 private:
  bool take_frame(Frame& frame);  // from in_

  Fd fd_;
  std::size_t max_payload_;
  std::string in_, out_;
  std::size_t taken_ = 0;  // of in_
  std::size_t sent_ = 0;   // of out_
};

}  // namespace orrery
