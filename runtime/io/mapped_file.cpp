#include "runtime/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "runtime/io/fail.h"
#include "sim/base/error.h"

namespace orrery {
namespace {

[[noreturn]] void fail_read(const std::string& path, int error) {
  fail(path, "cannot read the file: " + std::system_category().message(error), ExitCode::kNoInput);
}

}  // namespace

void MappedFile::unmap() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  path_ = std::move(other.path_);
  bytes_ = std::exchange(other.bytes_, {});
  return *this;
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK, opening a FIFO waits for a writer.
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail_read(path_, errno);
  struct stat info {};
  const bool known = ::fstat(fd, &info) == 0;
  const int stat_error = errno;
  const auto size = static_cast<std::size_t>(info.st_size);
  void* data = MAP_FAILED;
  int map_error = 0;
  if (known && S_ISREG(info.st_mode) && size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    map_error = errno;
  }
  ::close(fd);
  if (!known) fail_read(path_, stat_error);
  if (S_ISDIR(info.st_mode)) fail(path_, "found a directory, expected a file", ExitCode::kNoInput);
  if (!S_ISREG(info.st_mode))
    fail(path_, "found a device or a pipe, expected a regular file", ExitCode::kNoInput);
  if (size == 0) return;  // nothing can be mapped
  if (data == MAP_FAILED) fail_read(path_, map_error);
  bytes_ = {static_cast<const std::byte*>(data), size};
}

}  // namespace orrery
