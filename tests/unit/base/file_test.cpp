#include "sim/base/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

constexpr mode_t kPermissions = 0777;

mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & kPermissions;
}

// Root may do everything, so that a test of permissions must give that up for a while.
class Unprivileged {
 public:
  Unprivileged() {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0) changed_ = ::seteuid(kNobody) == 0;
  }
  ~Unprivileged() {
    if (changed_ && ::seteuid(0) != 0) std::abort();
  }
  Unprivileged(const Unprivileged&) = delete;
  Unprivileged& operator=(const Unprivileged&) = delete;

 private:
  bool changed_ = false;
};

// Makes writes fail beyond some size.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit = old_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_{};
  void (*handler_)(int);
};

TEST_CASE("read_file returns every byte, up to the limit", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  const std::string content = std::string("a\0b\r\n", 5) + std::string(100'000, 'x');
  testing::write(path, content);
  CHECK(read_file(path, content.size()) == content);
  const Failure failure = failure_of([&] { read_file(path, content.size() - 1); });
  CHECK(failure.message == path +
                               ": the file is too large: found 100,005 bytes (0.1 MiB), expected "
                               "at most 100,004 bytes (0.1 MiB)");
  CHECK(failure.code == ExitCode::kBadInput);
  testing::write(path, "");
  CHECK(read_file(path, 0).empty());
}

TEST_CASE("read_file names the file that it cannot read", "[base]") {
  const TemporaryDirectory directory;
  const std::string missing = directory.file("missing");
  const Failure absent = failure_of([&] { read_file(missing, 1); });
  CHECK(absent.message == missing + ": cannot read the file: No such file or directory");
  CHECK(absent.code == ExitCode::kNoInput);

  const Failure folder = failure_of([&] { read_file(directory.path(), 1); });
  CHECK(folder.message == directory.path() + ": found a directory, expected a file");
  CHECK(folder.code == ExitCode::kNoInput);

  const std::string secret = directory.file("secret");
  testing::write(secret, "x");
  ::chmod(directory.path().c_str(), 0755);
  ::chmod(secret.c_str(), 0);
  const Unprivileged unprivileged;
  const Failure denied = failure_of([&] { read_file(secret, 1); });
  CHECK(denied.message == secret + ": cannot read the file: Permission denied");
  CHECK(denied.code == ExitCode::kNoInput);
}

TEST_CASE("read_file reads a pipe no further than the limit", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("pipe");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const auto read_pipe = [&](std::size_t limit) {
    std::thread writer([&] { testing::write(path, "hello"); });
    std::string content;
    const Failure failure = failure_of([&] { content = read_file(path, limit); });
    writer.join();
    return content + failure.message;
  };
  CHECK(read_pipe(5) == "hello");
  CHECK(read_pipe(4).find("found more than 4 bytes") != std::string::npos);
}

TEST_CASE("write_file_atomically creates and replaces", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("out");
  const mode_t mask = ::umask(0);
  ::umask(mask);
  write_file_atomically(path, "one");
  CHECK(content_of(path) == "one");
  CHECK(mode_of(path) == (0644 & ~mask));

  ::chmod(path.c_str(), 0640);
  write_file_atomically(path, std::string("two\0", 4));
  CHECK(content_of(path) == std::string("two\0", 4));
  CHECK(mode_of(path) == 0640);

  write_file_atomically(path, "");
  CHECK(content_of(path).empty());
  CHECK(directory.entries() == 1);
}

TEST_CASE("write_file_atomically writes to a name in the working directory", "[base]") {
  const TemporaryDirectory directory;
  const std::filesystem::path old = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  const Failure failure = failure_of([] { write_file_atomically("plain", "x"); });
  std::filesystem::current_path(old);
  CHECK(failure.message.empty());
  CHECK(content_of(directory.file("plain")) == "x");
}

TEST_CASE("write_file_atomically replaces the file behind a link", "[base]") {
  const TemporaryDirectory directory;
  testing::write(directory.file("real"), "old");
  std::filesystem::create_symlink("real", directory.file("link"));
  write_file_atomically(directory.file("link"), "new");
  CHECK(std::filesystem::is_symlink(directory.file("link")));
  CHECK(content_of(directory.file("real")) == "new");
}

TEST_CASE("a reader that has the old file open keeps it whole", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  testing::write(path, "old content");
  std::ifstream reader(path);
  write_file_atomically(path, "new");
  std::string text;
  std::getline(reader, text);
  CHECK(text == "old content");
}

TEST_CASE("a write that fails leaves the old file and no other", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  testing::write(path, "old");
  Failure failure;
  {
    const FileSizeLimit limit(10);
    failure = failure_of([&] { write_file_atomically(path, std::string(1000, 'x')); });
  }
  CHECK(failure.message == path + ": cannot write the file: File too large");
  CHECK(failure.code == ExitCode::kIoError);
  CHECK(content_of(path) == "old");
  CHECK(directory.entries() == 1);
}

TEST_CASE("a directory or file that may not be written keeps the old file", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  testing::write(path, "old");
  ::chmod(path.c_str(), 0666);
  ::chmod(directory.path().c_str(), 0555);
  Failure denied, denied_new;
  {
    const Unprivileged unprivileged;
    denied = failure_of([&] { write_file_atomically(path, "new"); });
    denied_new = failure_of([&] { write_file_atomically(directory.file("g"), "new"); });
  }
  CHECK(denied.message == path + ": cannot create the file: Permission denied");
  CHECK(denied.code == ExitCode::kCannotCreate);
  CHECK(denied_new.code == ExitCode::kCannotCreate);

  ::chmod(directory.path().c_str(), 0777);
  ::chmod(path.c_str(), 0444);
  {
    const Unprivileged unprivileged;
    denied = failure_of([&] { write_file_atomically(path, "new"); });
  }
  CHECK(denied.code == ExitCode::kCannotCreate);
  CHECK(content_of(path) == "old");
  CHECK(directory.entries() == 1);
}

TEST_CASE("write_file_atomically refuses a missing directory and a directory", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("no/f");
  const Failure failure = failure_of([&] { write_file_atomically(path, "x"); });
  CHECK(failure.message == path + ": cannot create the file: No such file or directory");
  CHECK(failure.code == ExitCode::kCannotCreate);
  CHECK(failure_of([&] { write_file_atomically(directory.path(), "x"); }).code ==
        ExitCode::kCannotCreate);
  CHECK(directory.entries() == 0);
}

TEST_CASE("what is no regular file is written directly", "[base]") {
  CHECK_NOTHROW(write_file_atomically("/dev/null", "x"));
  CHECK(failure_of([] { write_file_atomically("/dev/full", "x"); }).code == ExitCode::kIoError);

  const TemporaryDirectory directory;
  const std::string path = directory.file("pipe");
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  std::string received;
  std::thread reader([&] { received = content_of(path); });
  write_file_atomically(path, "through");
  reader.join();
  CHECK(received == "through");
  CHECK(std::filesystem::is_fifo(path));
}

TEST_CASE("/dev/stdout keeps what was printed before", "[base]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("captured");
  const int saved = ::dup(STDOUT_FILENO);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(file >= 0);
  std::fflush(stdout);
  ::dup2(file, STDOUT_FILENO);
  const bool printed = ::write(STDOUT_FILENO, "before ", 7) == 7;
  const Failure failure = failure_of([] { write_file_atomically("/dev/stdout", "after"); });
  ::dup2(saved, STDOUT_FILENO);
  ::close(saved);
  ::close(file);
  CHECK(printed);
  CHECK(failure.message.empty());
  CHECK(content_of(path) == "before after");
}

}  // namespace
}  // namespace orrery
