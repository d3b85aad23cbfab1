// The root of the source tree, whose experiments and profiles tests read.
#pragma once

namespace orrery {

extern const char* const kSourceDir;

}  // namespace orrery
