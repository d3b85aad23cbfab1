#include "sim/base/progress.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::TemporaryDirectory;

// Redirects stderr while it lives.
class Redirect {
 public:
  explicit Redirect(int fd) : saved_(::dup(STDERR_FILENO)) {
    std::fflush(stderr);
    ::dup2(fd, STDERR_FILENO);
  }
  ~Redirect() {
    std::fflush(stderr);
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
  }
  Redirect(const Redirect&) = delete;
  Redirect& operator=(const Redirect&) = delete;

 private:
  int saved_;
};

void wait(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// Updates often for 1.4 seconds, and returns what a file on stderr got.
std::string file_output(ProgressMode mode) {
  const TemporaryDirectory directory;
  const int file = ::open(directory.file("err").c_str(), O_WRONLY | O_CREAT, 0600);
  {
    const Redirect redirect(file);
    Progress progress("sweep \"a\"", 320, mode);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1400);
         ++i) {
      progress.update(i);
      wait(5);
    }
    progress.update(300);  // on a busy machine perhaps the first after a second
  }
  ::close(file);
  return testing::content_of(directory.file("err"));
}

TEST_CASE("JSON progress is one object a line, at most 10 a second", "[base]") {
  const std::string text = file_output(ProgressMode::kJson);
  const auto lines = std::count(text.begin(), text.end(), '\n');
  CHECK(lines >= 1);
  CHECK(lines <= 6);  // in the 0.4 s after the first second, and two late ones
  CHECK(text.starts_with(R"({"event":"progress","what":"sweep \"a\"","done":)"));
  CHECK(text.find(R"(,"total":320,"eta_s":)") != std::string::npos);
  CHECK(text.ends_with("}\n"));
}

TEST_CASE("nothing is shown off a terminal or when quiet", "[base]") {
  CHECK(file_output(ProgressMode::kAuto).empty());
  CHECK(file_output(ProgressMode::kQuiet).empty());
}

TEST_CASE("JSON progress has no time left when the total is unknown", "[base]") {
  const TemporaryDirectory directory;
  const int file = ::open(directory.file("err").c_str(), O_WRONLY | O_CREAT, 0600);
  {
    const Redirect redirect(file);
    Progress progress("read", 0, ProgressMode::kJson);
    progress.update(1);  // too early
    wait(1050);
    progress.update(7);
  }
  ::close(file);
  CHECK(testing::content_of(directory.file("err")) ==
        "{\"event\":\"progress\",\"what\":\"read\",\"done\":7,\"total\":0,\"eta_s\":null}\n");
}

TEST_CASE("a terminal shows a line with the time left and erases it", "[base]") {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) {
    WARN("no pseudo terminal here");
    return;
  }
  const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);
  {
    const Redirect redirect(terminal);
    Progress progress("sweep", 4000, ProgressMode::kAuto);
    progress.update(1);
    wait(1050);
    progress.update(2000);
  }
  ::close(terminal);
  // The terminal hands its output over piece by piece.
  std::string shown;
  char block[256];
  for (ssize_t n = 0; (n = ::read(master, block, sizeof block)) > 0;) {
    shown.append(block, static_cast<std::size_t>(n));
  }
  ::close(master);
  CHECK(shown.starts_with("\r\x1b[Ksweep: 2,000 of 4,000 (50%), "));
  CHECK(shown.ends_with(" s left\r\x1b[K"));
}

}  // namespace
}  // namespace orrery
