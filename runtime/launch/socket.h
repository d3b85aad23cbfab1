// TCP sockets for the bootstrap. All are non-blocking and closed on exec.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "runtime/launch/deadline.h"

namespace orrery {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

std::string system_message(int error);  // "Connection refused"

// Listens on `address` (a name or a number); port 0 takes a free one. With `any_if_loopback`, an
// address that means this machine only (Debian maps a machine's own name to 127.0.1.1) is widened
// to all interfaces. Throws Error(kUnavailable).
Fd listen_on(const std::string& address, int port, bool any_if_loopback = false);

int port_of(const Fd& listener);

// Takes over an inherited descriptor; an invalid Fd when it is not a listening socket.
Fd adopt_listener(int fd);

// The next waiting connection; an invalid Fd when there is none.
Fd accept_one(const Fd& listener);

// One attempt to connect. On failure an invalid Fd and the reason in `error`.
Fd connect_once(const std::string& address, int port, Deadline deadline, std::string& error);

// Write or read all of it; false when the connection breaks or the deadline passes.
bool write_all(const Fd& fd, const std::string& bytes, Deadline deadline);
bool read_exactly(const Fd& fd, std::size_t n, std::string& bytes, Deadline deadline);

}  // namespace orrery
