#include "sim/base/error.h"

#include <utility>

namespace orrery {
namespace {

std::string message_of(const std::vector<Diagnostic>& diagnostics, std::size_t omitted) {
  std::string text;
  for (std::size_t i = 0; i < diagnostics.size() && i < kMaxDiagnostics; ++i) {
    if (i > 0) text += '\n';
    if (!diagnostics[i].where.empty()) text += diagnostics[i].where + ": ";
    text += diagnostics[i].message;
  }
  if (diagnostics.size() > kMaxDiagnostics) omitted += diagnostics.size() - kMaxDiagnostics;
  if (omitted > 0) text += "\nand " + std::to_string(omitted) + " more";
  return text;
}

}  // namespace

InputError::InputError(std::vector<Diagnostic> diagnostics, ExitCode code, std::size_t omitted)
    : Error(code, message_of(diagnostics, omitted)), diagnostics_(std::move(diagnostics)) {
  if (diagnostics_.size() > kMaxDiagnostics) diagnostics_.resize(kMaxDiagnostics);
}

void Diagnostics::add(std::string where, std::string message) {
  if (++count_ <= kMaxDiagnostics) kept_.push_back({std::move(where), std::move(message)});
}

void Diagnostics::throw_if_any() const {
  if (!empty()) throw InputError(kept_, ExitCode::kBadInput, count_ - kept_.size());
}

}  // namespace orrery
