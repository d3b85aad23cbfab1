#include "runtime/launch/socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "sim/base/error.h"

namespace orrery {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Addresses resolve(const std::string& address, int port, std::string& error) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int e = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (e != 0) error = e == EAI_SYSTEM ? system_message(errno) : ::gai_strerror(e);
  return {e == 0 ? list : nullptr, &::freeaddrinfo};
}

bool is_loopback(const addrinfo& a) {
  if (a.ai_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(a.ai_addr);
    return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(a.ai_addr);
  return a.ai_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

void widen(addrinfo& a) {
  if (a.ai_family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(a.ai_addr)->sin_addr.s_addr = htonl(INADDR_ANY);
  } else {
    reinterpret_cast<sockaddr_in6*>(a.ai_addr)->sin6_addr = in6addr_any;
  }
}

Fd socket_for(const addrinfo& a) {
  return Fd(::socket(a.ai_family, a.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a.ai_protocol));
}

void set_option(const Fd& fd, int level, int name, int value) {
  // Each is an improvement that a system may lack.
  (void)::setsockopt(fd.get(), level, name, &value, sizeof value);
}

// A machine that loses power says nothing; without these its peers would wait for hours.
void tune(const Fd& fd) {
  constexpr int kIdleSeconds = 10, kIntervalSeconds = 5, kProbes = 3, kUnansweredMs = 25'000;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kIntervalSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMs);
}

// False when the deadline passes first.
bool wait_for(const Fd& fd, short events, Deadline deadline) {
  while (true) {
    pollfd p{fd.get(), events, 0};
    const int n = ::poll(&p, 1, poll_milliseconds(deadline, std::chrono::seconds(1)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
    if (passed(deadline)) return false;
  }
}

int pending_error(const Fd& fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Fd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

std::string system_message(int error) { return std::system_category().message(error); }

Fd listen_on(const std::string& address, int port, bool any_if_loopback) {
  std::string error;
  const Addresses addresses = resolve(address, port, error);
  for (addrinfo* a = addresses.get(); a; a = a->ai_next) {
    if (any_if_loopback && is_loopback(*a)) widen(*a);
    Fd fd = socket_for(*a);
    if (!fd.valid()) {
      error = system_message(errno);
      continue;
    }
    // A job that just ended leaves its port in TIME_WAIT.
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(fd.get(), a->ai_addr, a->ai_addrlen) == 0 && ::listen(fd.get(), SOMAXCONN) == 0) {
      return fd;
    }
    error = system_message(errno);
  }
  throw Error(ExitCode::kUnavailable,
              fmt::format("rank 0 cannot listen on {} port {}: {}", address, port, error));
}

int port_of(const Fd& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

Fd adopt_listener(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (fd < 0 || ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 ||
      listening == 0) {
    return {};
  }
  (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
  (void)::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return Fd(fd);
}

Fd accept_one(const Fd& listener) {
  Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd.valid()) tune(fd);
  return fd;
}

Fd connect_once(const std::string& address, int port, Deadline deadline, std::string& error) {
  const Addresses addresses = resolve(address, port, error);
  for (const addrinfo* a = addresses.get(); a; a = a->ai_next) {
    Fd fd = socket_for(*a);
    int e = fd.valid() && ::connect(fd.get(), a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (fd.valid() && (e == EINPROGRESS || e == EINTR)) {
      e = wait_for(fd, POLLOUT, deadline) ? pending_error(fd) : ETIMEDOUT;
    }
    if (e == 0) {
      tune(fd);
      return fd;
    }
    error = system_message(e);
  }
  return {};
}

bool write_all(const Fd& fd, const std::string& bytes, Deadline deadline) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::send(fd.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool read_exactly(const Fd& fd, std::size_t n, std::string& bytes, Deadline deadline) {
  bytes.assign(n, '\0');
  std::size_t done = 0;
  while (done < n) {
    const ssize_t got = ::recv(fd.get(), bytes.data() + done, n - done, 0);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0) {
      return false;
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLIN, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace orrery
