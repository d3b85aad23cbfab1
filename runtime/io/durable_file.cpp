#include "runtime/io/durable_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "sim/base/error.h"

namespace orrery {
namespace {

std::string reason(int error) { return std::system_category().message(error); }

[[noreturn]] void fail_create(const std::string& path, const char* what, int error) {
  throw Error(ExitCode::kCannotCreate, path + ": cannot create the " + what + ": " + reason(error));
}

[[noreturn]] void fail_write(const std::string& path, const char* what, int error) {
  throw Error(ExitCode::kIoError, path + ": cannot write the " + what + ": " + reason(error));
}

[[noreturn]] void fail_remove(const std::string& path, const std::string& why) {
  throw Error(ExitCode::kIoError, path + ": cannot remove it: " + why);
}

void announce(const DiskHook& hook, DiskStep step, const std::string& path) {
  if (hook) hook(step, path);
}

// Some file systems cannot flush; there is nothing better to do on them than to go on.
bool flushed(int fd) { return ::fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP; }

std::string temporary_name(const std::string& path) {
  const std::filesystem::path p(path);
  return (p.parent_path() / ("." + p.filename().string() + ".tmp-" + random_suffix())).string();
}

}  // namespace

OutputFile::OutputFile(std::string path, DiskHook hook)
    : path_(std::move(path)), hook_(std::move(hook)) {
  announce(hook_, DiskStep::kCreate, path_);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_create(path_, "file", errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::append(std::span<const std::byte> bytes) {
  write_at(appended_, bytes);
  appended_ += bytes.size();
}

void OutputFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    announce(hook_, DiskStep::kWrite, path_);
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write(path_, "file", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void OutputFile::sync_and_close() {
  announce(hook_, DiskStep::kSync, path_);
  if (!flushed(fd_)) fail_write(path_, "file", errno);
  // Some systems (NFS) tell about a write error only here.
  if (::close(std::exchange(fd_, -1)) != 0) fail_write(path_, "file", errno);
}

AtomicFile::AtomicFile(std::string path, DiskHook hook)
    : path_(std::move(path)), hook_(std::move(hook)), file_(temporary_name(path_), hook_) {}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(file_.path().c_str());
}

void AtomicFile::commit() {
  file_.sync_and_close();
  rename_path(file_.path(), path_, hook_);
  committed_ = true;
  sync_folder(parent_folder(path_), hook_);
}

void make_folder(const std::string& path, const DiskHook& hook) {
  announce(hook, DiskStep::kMakeFolder, path);
  if (::mkdir(path.c_str(), 0777) != 0) fail_create(path, "folder", errno);
}

void make_folders(const std::string& path, const DiskHook& hook) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return;
  const std::string parent = parent_folder(path);
  if (parent != path) make_folders(parent, hook);
  announce(hook, DiskStep::kMakeFolder, path);
  // Another rank may be making the same folder.
  if (::mkdir(path.c_str(), 0777) != 0 &&
      !(errno == EEXIST && std::filesystem::is_directory(path, ignored))) {
    fail_create(path, "folder", errno);
  }
  sync_folder(parent, hook);
}

void rename_path(const std::string& from, const std::string& to, const DiskHook& hook) {
  announce(hook, DiskStep::kRename, to);
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int error = errno;
    throw Error(ExitCode::kCannotCreate,
                to + ": cannot rename " + from + " to it: " + reason(error));
  }
}

void sync_folder(const std::string& path, const DiskHook& hook) {
  announce(hook, DiskStep::kSyncFolder, path);
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // A folder that may be written but not read cannot be opened for flushing.
  if (fd < 0 && errno == EACCES) return;
  const bool done = fd >= 0 && flushed(fd);
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!done) fail_write(path, "folder", error);
}

void remove_tree(const std::string& path, const DiskHook& hook) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return;
  if (error) fail_remove(path, error.message());
  if (status.type() == fs::file_type::directory) {
    std::vector<std::string> entries;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      entries.push_back(it->path().string());
    }
    if (error) fail_remove(path, error.message());
    std::sort(entries.begin(), entries.end());
    for (const std::string& entry : entries) remove_tree(entry, hook);
  }
  announce(hook, DiskStep::kRemove, path);
  fs::remove(path, error);
  if (error) fail_remove(path, error.message());
}

std::string parent_folder(const std::string& path) {
  std::filesystem::path p(path);
  if (!p.has_filename() && p.has_relative_path()) p = p.parent_path();  // "a/b/" is "a/b"
  const std::string parent = p.parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string random_suffix() {
  uint64_t bits = 0;
  if (::getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
    throw Error(ExitCode::kIoError, "cannot get a random number: " + reason(errno));
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(bits));
  return text;
}

}  // namespace orrery
