#include "sim/base/error.h"

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::failure_of;

TEST_CASE("InputError puts each finding on a line", "[base]") {
  const InputError error({{"a.json:1:2 /x", "found 1"}, {"", "no place"}});
  CHECK(std::string(error.what()) == "a.json:1:2 /x: found 1\nno place");
  CHECK(error.code() == ExitCode::kBadInput);
  CHECK(error.diagnostics().size() == 2);
}

TEST_CASE("InputError keeps 20 findings and counts the rest", "[base]") {
  std::vector<Diagnostic> many(kMaxDiagnostics, Diagnostic{"", "m"});
  CHECK(std::string(InputError(many).what()).find("more") == std::string::npos);
  many.resize(kMaxDiagnostics + 3, Diagnostic{"", "m"});
  const InputError error(many, ExitCode::kNoInput, 2);
  const std::string text = error.what();
  CHECK(text.substr(text.rfind('\n')) == "\nand 5 more");
  CHECK(error.diagnostics().size() == kMaxDiagnostics);
  CHECK(error.code() == ExitCode::kNoInput);
}

TEST_CASE("Diagnostics throws everything at once", "[base]") {
  Diagnostics diagnostics;
  CHECK(diagnostics.empty());
  CHECK_NOTHROW(diagnostics.throw_if_any());
  for (int i = 1; i <= 25; ++i) diagnostics.add("f:" + std::to_string(i), "bad");
  CHECK_FALSE(diagnostics.empty());
  std::string expected;
  for (int i = 1; i <= 20; ++i) expected += "f:" + std::to_string(i) + ": bad\n";
  const testing::Failure failure = failure_of([&] { diagnostics.throw_if_any(); });
  CHECK(failure.message == expected + "and 5 more");
  CHECK(failure.code == ExitCode::kBadInput);
}

TEST_CASE("Infeasible has its own exit code", "[base]") {
  CHECK(failure_of([] { throw Infeasible("does not fit"); }).code == ExitCode::kInfeasible);
}

}  // namespace
}  // namespace orrery
