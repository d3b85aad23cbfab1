// The one way in which the readers and writers of files refuse one.
#pragma once

#include <string>
#include <utility>

#include "sim/base/error.h"

namespace orrery {

// Throws an InputError with one finding; `where` is a file or folder, with the place in it if there
// is one.
[[noreturn]] inline void fail(const std::string& where, std::string message,
                              ExitCode code = ExitCode::kBadInput) {
  throw InputError({{where, std::move(message)}}, code);
}

}  // namespace orrery
