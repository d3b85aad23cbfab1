#include <cstdlib>
#include <filesystem>

#include "sim/cli/verbs.h"

namespace orrery {

std::string data_root() {
  namespace fs = std::filesystem;
  if (const char* env = std::getenv("ORRERY_DATA"); env != nullptr && *env != '\0') return env;
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) {
    const fs::path installed = self.parent_path() / ORRERY_INSTALL_DATADIR;
    if (fs::is_directory(installed / "hardware_profiles", failed)) return installed.string();
  }
  return ORRERY_SOURCE_DIR;
}

}  // namespace orrery
