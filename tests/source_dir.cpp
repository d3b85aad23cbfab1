#include "tests/source_dir.h"

namespace orrery {

const char* const kSourceDir = ORRERY_SOURCE_DIR;

}  // namespace orrery
