// Mapped files, durable writing and checksums.
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <utility>
#include <vector>

#include "runtime/io/checksum.h"
#include "runtime/io/durable_file.h"
#include "runtime/io/file_kind.h"
#include "runtime/io/mapped_file.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_CASE("a mapped file is the file, also after a move", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  testing::write(path, "content");
  MappedFile file(path);
  CHECK(text_of(file.bytes()) == "content");
  MappedFile other(std::move(file));
  CHECK(text_of(other.bytes()) == "content");
  testing::write(directory.file("g"), "");
  MappedFile empty(directory.file("g"));
  CHECK(empty.bytes().empty());
  empty = std::move(other);
  CHECK(text_of(empty.bytes()) == "content");
  CHECK(empty.path() == path);
}

TEST_CASE("what cannot be mapped is named", "[io]") {
  const TemporaryDirectory directory;
  const std::string missing = directory.file("missing");
  const Failure absent = failure_of([&] { MappedFile file(missing); });
  CHECK(absent.message == missing + ": cannot read the file: No such file or directory");
  CHECK(absent.code == ExitCode::kNoInput);
  const Failure folder = failure_of([&] { MappedFile file(directory.path()); });
  CHECK(folder.message == directory.path() + ": found a directory, expected a file");
  CHECK(folder.code == ExitCode::kNoInput);
  const std::string pipe = directory.file("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(failure_of([&] { MappedFile file(pipe); }).code == ExitCode::kNoInput);
}

TEST_CASE("an atomic file appears when it is committed, and not before", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  testing::write(path, "old");
  {
    AtomicFile file(path);
    file.file().append("new");
    CHECK(content_of(path) == "old");
  }
  CHECK(content_of(path) == "old");
  CHECK(directory.entries() == 1);
  {
    AtomicFile file(path);
    file.file().append("12345678");
    file.file().write_at(2, std::as_bytes(std::span("xy", 2)));
    file.file().append("9");
    CHECK(file.file().size() == 9);
    file.commit();
  }
  CHECK(content_of(path) == "12xy56789");
  CHECK(directory.entries() == 1);
}

TEST_CASE("failures to write have their exit codes", "[io]") {
  const TemporaryDirectory directory;
  const Failure folder = failure_of([&] { AtomicFile file(directory.file("no/f")); });
  CHECK(folder.code == ExitCode::kCannotCreate);
  CHECK(folder.message.find("cannot create the file: No such file") != std::string::npos);
  testing::write(directory.file("f"), "x");
  CHECK(failure_of([&] { OutputFile file(directory.file("f")); }).code == ExitCode::kCannotCreate);
  CHECK(failure_of([&] { make_folder(directory.file("f")); }).code == ExitCode::kCannotCreate);
  CHECK(failure_of([&] { make_folders(directory.file("f/g")); }).code == ExitCode::kCannotCreate);
  CHECK(failure_of([&] { sync_folder(directory.file("no")); }).code == ExitCode::kIoError);

  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  rlimit small = old;
  small.rlim_cur = 10;
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Failure full = failure_of([&] {
    AtomicFile file(directory.file("g"));
    file.file().append(std::string(100, 'x'));
  });
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(full.code == ExitCode::kIoError);
  CHECK(full.message.find("cannot write the file: File too large") != std::string::npos);
  CHECK(directory.entries() == 1);
}

TEST_CASE("folders are made and removed with all that is in them", "[io]") {
  const TemporaryDirectory directory;
  make_folders(directory.file("a/b/c"));
  make_folders(directory.file("a/b/c"));
  testing::write(directory.file("a/b/f"), "x");
  std::filesystem::create_symlink(directory.path(), directory.file("a/link"));
  remove_tree(directory.file("a"));
  CHECK(directory.entries() == 0);
  CHECK_NOTHROW(remove_tree(directory.file("a")));
  CHECK(parent_folder("f") == ".");
  CHECK(parent_folder("a/f") == "a");
  CHECK(parent_folder("a/b/") == "a");
  CHECK(parent_folder("/f") == "/");
}

TEST_CASE("the hook sees every step before it is done", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  std::vector<DiskStep> steps;
  const DiskHook hook = [&](DiskStep step, const std::string&) {
    if (step == DiskStep::kRename) CHECK(!std::filesystem::exists(path));
    steps.push_back(step);
  };
  {
    AtomicFile file(path, hook);
    file.file().append("x");
    file.commit();
  }
  CHECK(steps == std::vector{DiskStep::kCreate, DiskStep::kWrite, DiskStep::kSync,
                             DiskStep::kRename, DiskStep::kSyncFolder});
}

TEST_CASE("the checksum is XXH3 with 64 bits", "[io]") {
  CHECK(checksum_text(checksum_of("")) == "2d06800538d394c2");  // from the XXH3 specification
  std::vector<std::byte> bytes(10'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  const std::span<const std::byte> all(bytes);
  Checksum pieces;
  for (std::size_t at = 0; at < all.size(); at += 997) {
    pieces.add(all.subspan(at, std::min<std::size_t>(997, all.size() - at)));
  }
  CHECK(pieces.value() == checksum_of(all));
  bytes[5000] ^= std::byte{1};
  CHECK(pieces.value() != checksum_of(all));
  CHECK(checksum_text(0x1a) == "000000000000001a");
}

TEST_CASE("files of other formats are recognised", "[io]") {
  const auto guess = [](const std::string& text) {
    return guess_file_kind(std::as_bytes(std::span(text)));
  };
  CHECK(guess("\x93NUMPY\x01") == "it looks like a NumPy array (.npy)");
  CHECK(guess("PK\x03\x04").find("zip archive") != std::string::npos);
  CHECK(guess("version https://git-lfs.github.com/spec/v1").find("git lfs pull") !=
        std::string::npos);
  CHECK(guess(std::string("\x10\0\0\0\0\0\0\0{", 9)) == "it looks like a safetensors file");
  CHECK(guess("").find("empty") != std::string::npos);
  CHECK(guess("whatever").empty());
  CHECK(first_bytes_text(std::as_bytes(std::span("ab\x01", 3))) == "61 62 01");
  CHECK(first_bytes_text(std::as_bytes(std::span("ab", 2))) == "61 62 (\"ab\")");
}

}  // namespace
}  // namespace orrery
