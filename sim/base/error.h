// The typed failures that reach the command line, and the exit codes they map to.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace orrery {

// Process exit codes; 0 is success. The values follow sysexits.h where it has one.
enum class ExitCode {
  kOk = 0,
  kFailure = 1,
  kInfeasible = 3,  // the plan does not fit or cannot run on this cluster
  kThreshold = 4,   // an accuracy or regression threshold was exceeded
  kUsage = 64,
  kBadInput = 65,
  kNoInput = 66,
  kUnavailable = 69,  // no GPU, or built without CUDA
  kInternal = 70,
  kCannotCreate = 73,
  kIoError = 74,
  kTimeout = 75,
  kInterrupted = 130,
};

// One finding about an input: where it is, what was found, what was expected and what to do.
struct Diagnostic {
  std::string where;    // "file:line:column /json/pointer", or a file name alone
  std::string message;  // one sentence, with found and expected
};

// The most diagnostics one error carries; the rest are counted.
constexpr std::size_t kMaxDiagnostics = 20;

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// Bad input: every finding of the file(s), one a line. Exit code 65 (66 for a missing file).
class InputError : public Error {
 public:
  // `omitted` counts further findings that are not in `diagnostics`.
  explicit InputError(std::vector<Diagnostic> diagnostics, ExitCode code = ExitCode::kBadInput,
                      std::size_t omitted = 0);
  // The first kMaxDiagnostics findings; what() says how many more there were.
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }

 private:
  std::vector<Diagnostic> diagnostics_;
};

// The inputs are well formed, but the plan cannot run: does not divide, does not fit, deadlocks.
class Infeasible : public Error {
 public:
  explicit Infeasible(const std::string& message) : Error(ExitCode::kInfeasible, message) {}
};

// Findings collected while reading; thrown together.
class Diagnostics {
 public:
  void add(std::string where, std::string message);
  bool empty() const { return count_ == 0; }
  void throw_if_any() const;  // throws InputError

 private:
  std::vector<Diagnostic> kept_;
  std::size_t count_ = 0;
};

}  // namespace orrery
