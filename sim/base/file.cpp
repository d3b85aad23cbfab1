#include "sim/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <utility>

#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return fd_; }
  // Unlike the destructor, tells about a write error that the system reports only here (NFS).
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

std::string reason(int error) { return std::system_category().message(error); }

[[noreturn]] void fail_read(const std::string& path, std::string message) {
  throw InputError({{path, std::move(message)}}, ExitCode::kNoInput);
}

[[noreturn]] void fail_create(const std::string& path, int error) {
  throw Error(ExitCode::kCannotCreate, path + ": cannot create the file: " + reason(error));
}

[[noreturn]] void fail_write(const std::string& path, int error) {
  throw Error(ExitCode::kIoError, path + ": cannot write the file: " + reason(error));
}

void write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path, errno);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
}

// Some file systems cannot flush; there is nothing better to do on them than to go on.
bool flushed(int fd) { return ::fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP; }

// Asked once: reading the mask means changing it for a moment, which must not happen in two threads
// at a time.
mode_t creation_mask() {
  static const mode_t mask = [] {
    const mode_t old = ::umask(022);
    ::umask(old);
    return old;
  }();
  return mask;
}

// Removes the temporary file unless it was renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string name) : name_(std::move(name)) {}
  ~TemporaryFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  bool rename_to(const std::string& path) {
    if (::rename(name_.c_str(), path.c_str()) != 0) return false;
    name_.clear();
    return true;
  }

 private:
  std::string name_;
};

// Appends, so that a regular file behind /dev/stdout keeps what was printed to it before.
void write_directly(const std::string& path, std::string_view content) {
  const bool is_stdout = path == "/dev/stdout";  // opening it by name fails when it is a socket
  FileDescriptor file(is_stdout ? ::dup(STDOUT_FILENO)
                                : ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (file.get() < 0) fail_create(path, errno);
  write_all(file.get(), content, path);
  if (!file.close()) fail_write(path, errno);
}

void replace_file(const std::string& path, mode_t mode, std::string_view content) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::string name = directory + '.' + path.substr(directory.size()) + ".XXXXXX";
  FileDescriptor file(::mkostemp(name.data(), O_CLOEXEC));
  if (file.get() < 0) fail_create(path, errno);
  TemporaryFile temporary(name);
  if (::fchmod(file.get(), mode) != 0) fail_create(path, errno);
  write_all(file.get(), content, path);
  if (!flushed(file.get()) || !file.close()) fail_write(path, errno);
  if (!temporary.rename_to(path)) fail_create(path, errno);

  FileDescriptor parent(
      ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A directory that may be written but not read cannot be opened for flushing.
  if (parent.get() < 0 && errno == EACCES) return;
  if (parent.get() < 0 || !flushed(parent.get())) fail_write(path, errno);
}

}  // namespace

std::string read_file(const std::string& path, std::size_t max_bytes) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_read(path, "cannot read the file: " + reason(errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail_read(path, "cannot read the file: " + reason(errno));
  if (S_ISDIR(info.st_mode)) fail_read(path, "found a directory, expected a file");
  const std::string limit = ", expected at most " + bytes_text(max_bytes);
  const auto size = static_cast<std::size_t>(info.st_size);
  if (S_ISREG(info.st_mode) && size > max_bytes) {
    throw InputError({{path, "the file is too large: found " + bytes_text(size) + limit}});
  }

  constexpr std::size_t kBlock = 64 << 10;
  std::string content;
  if (S_ISREG(info.st_mode)) content.reserve(size + 1);
  const auto block = std::make_unique<char[]>(kBlock);
  while (true) {
    const ssize_t n = ::read(file.get(), block.get(), kBlock);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_read(path, "cannot read the file: " + reason(errno));
    if (n == 0) return content;
    content.append(block.get(), static_cast<std::size_t>(n));
    if (content.size() > max_bytes) {
      throw InputError(
          {{path, "the file is too large: found more than " + bytes_text(max_bytes) + limit}});
    }
  }
}

void write_file_atomically(const std::string& path, std::string_view content) {
  struct stat info {};
  if (path.starts_with("/dev/") || path.starts_with("/proc/")) return write_directly(path, content);
  if (::stat(path.c_str(), &info) != 0) {
    return replace_file(path, 0644 & ~creation_mask(), content);
  }
  if (!S_ISREG(info.st_mode)) return write_directly(path, content);
  // A rename needs no permission on the file it replaces.
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) fail_create(path, errno);
  const std::unique_ptr<char, decltype(&std::free)> target(::realpath(path.c_str(), nullptr),
                                                           &std::free);
  if (target == nullptr) fail_create(path, errno);
  replace_file(target.get(), info.st_mode & 0777, content);
}

}  // namespace orrery
