// The names in a folder of checkpoints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

enum class CheckpointFolderKind : uint8_t {
  kFinal,      // step_00001234
  kSetAside,   // step_00001234.old-<token>
  kTemporary,  // step_00001234.tmp-<token>: being written, or being removed
};

struct CheckpointFolder {
  std::string path;
  int64_t step = 0;
  CheckpointFolderKind kind = CheckpointFolderKind::kFinal;
};

std::string final_folder(const std::string& root, int64_t step);
std::string set_aside_folder(const std::string& root, int64_t step, const std::string& token);
std::string temporary_folder(const std::string& root, int64_t step, const std::string& token);

// Highest step first; of one step, the final one first. Other names are passed over. A root that
// does not exist has none; one that cannot be read: InputError with kNoInput.
std::vector<CheckpointFolder> list_checkpoint_folders(const std::string& root);

}  // namespace orrery
