#include "runtime/io/metrics.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <vector>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

void write_steps(MetricsWriter& writer, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    writer.write(step, std::vector<Metric>{{"loss", 10.0 / static_cast<double>(step)}});
  }
}

std::string line(int64_t step, const std::string& loss) {
  return R"({"step":)" + std::to_string(step) + R"(,"loss":)" + loss + "}\n";
}

TEST_CASE("metrics are lines of JSON, there at once and in order", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("metrics.jsonl");
  MetricsWriter writer(path);
  CHECK(content_of(path).empty());
  writer.write(1, std::vector<Metric>{{"loss", 2.5},
                                      {"tokens", int64_t{1} << 60},
                                      {"a", true},
                                      {"note", "say \"hi\"\n"},
                                      {"rate", 0.1}});
  CHECK(content_of(path) ==
        R"({"step":1,"loss":2.5,"tokens":1152921504606846976,"a":true,"note":"say \"hi\"\n",)"
        R"("rate":0.1})"
        "\n");
  writer.write(5, {});
  CHECK(content_of(path).ends_with("\n{\"step\":5}\n"));
  CHECK_NOTHROW(writer.sync());
}

TEST_CASE("what JSON does not have is replaced", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  MetricsWriter writer(path);
  writer.write(
      1, std::vector<Metric>{
             {"a", std::nan("")}, {"b", std::numeric_limits<double>::infinity()}, {"c", "\xff"}});
  CHECK(content_of(path) == "{\"step\":1,\"a\":null,\"b\":null,\"c\":\"\uFFFD\"}\n");
}

TEST_CASE("steps increase and names are unique", "[io]") {
  const TemporaryDirectory directory;
  MetricsWriter writer(directory.file("m"));
  writer.write(3, {});
  CHECK(failure_of([&] { writer.write(3, {}); }).code == ExitCode::kInternal);
  const std::vector<Metric> twice = {{"a", 1.0}, {"a", 2.0}};
  const std::vector<Metric> step = {{"step", 1.0}};
  CHECK(failure_of([&] { writer.write(4, twice); }).code == ExitCode::kInternal);
  CHECK(failure_of([&] { writer.write(4, step); }).code == ExitCode::kInternal);
  CHECK(content_of(directory.file("m")) == "{\"step\":3}\n");
}

TEST_CASE("a new run does not write over an old one", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  testing::write(path, line(1, "2.0"));
  const Failure failure = failure_of([&] { MetricsWriter writer(path); });
  CHECK(failure.code == ExitCode::kCannotCreate);
  CHECK(failure.message.find("has content already") != std::string::npos);
  CHECK(content_of(path) == line(1, "2.0"));
  CHECK(failure_of([&] { MetricsWriter writer(directory.file("no/m")); }).code ==
        ExitCode::kCannotCreate);
}

TEST_CASE("a resumed run removes the lines that it writes again", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  {
    MetricsWriter writer(path);
    write_steps(writer, 1, 100);
  }
  const std::string whole = content_of(path);
  for (const int64_t resumed : {100, 99, 57, 1, 0, 1000}) {
    testing::write(path, whole);
    {
      MetricsWriter writer(path, resumed);
      CHECK(failure_of([&] { writer.write(std::min<int64_t>(resumed, 100), {}); }).code ==
            (resumed == 0 ? ExitCode::kOk : ExitCode::kInternal));
    }
    if (resumed == 0) continue;
    MetricsWriter writer(path, resumed);
    write_steps(writer, std::min<int64_t>(resumed, 100) + 1, 100);
    CAPTURE(resumed);
    CHECK(content_of(path) == whole);
  }
  const std::string fresh = directory.file("fresh");
  MetricsWriter writer(fresh, 10);
  writer.write(11, {});
  CHECK(content_of(fresh) == "{\"step\":11}\n");
}

TEST_CASE("a file that was cut anywhere is taken up again", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  const std::string whole = line(1, "4.0") + line(2, "3.0") + line(3, "2.0");
  const std::size_t second = line(1, "4.0").size();
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    testing::write(path, whole.substr(0, length));
    { const MetricsWriter writer(path, 2); }
    CAPTURE(length);
    // A line that lacks only its line end is whole.
    std::string expected;
    if (length + 1 >= second) expected += line(1, "4.0");
    if (length + 1 >= 2 * second) expected += line(2, "3.0");
    CHECK(content_of(path) == expected);
  }
  testing::write(path, line(1, "4.0") + std::string(100, '\0'));  // after a power failure
  { const MetricsWriter writer(path, 2); }
  CHECK(content_of(path) == line(1, "4.0"));
  testing::write(path, line(1, "4.0") + R"({"step":2,"l)" + std::string(100, '\0'));
  { const MetricsWriter writer(path, 2); }
  CHECK(content_of(path) == line(1, "4.0"));
}

TEST_CASE("a file that holds something else is left alone", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  for (const std::string& content :
       {std::string("notes\nthat matter\n"), line(1, "4.0") + "junk\n" + line(9, "2.0"),
        std::string("{\"loss\":1}\n"), std::string("{\"step\":1.5}\n"), std::string("\n"),
        "notes\n" + line(9, "1.0"), std::string(R"({"st?)"), line(1, "4.0") + "notes"}) {
    testing::write(path, content);
    const Failure failure = failure_of([&] { MetricsWriter writer(path, 5); });
    CAPTURE(content);
    CHECK(failure.code == ExitCode::kBadInput);
    CHECK(failure.message.find("nothing was changed") != std::string::npos);
    CHECK(content_of(path) == content);
  }
}

TEST_CASE("a full disk leaves whole lines", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  MetricsWriter writer(path);
  writer.write(1, {});
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  rlimit small = old;
  small.rlim_cur = 20;
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const Failure failure = failure_of([&] { write_steps(writer, 2, 2); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(failure.code == ExitCode::kIoError);
  CHECK(failure.message == path + ": cannot write the file: File too large");
  CHECK(content_of(path) == "{\"step\":1}\n");
  writer.write(2, {});
  CHECK(content_of(path) == "{\"step\":1}\n{\"step\":2}\n");
}

}  // namespace
}  // namespace orrery
