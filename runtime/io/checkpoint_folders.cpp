#include "runtime/io/checkpoint_folders.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <tuple>

#include "sim/base/error.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step_";
constexpr std::string_view kOld = ".old-";
constexpr std::string_view kTmp = ".tmp-";

std::string final_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08lld", static_cast<long long>(step));
  return name;
}

std::optional<CheckpointFolder> parse_name(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  CheckpointFolder folder;
  const char* begin = name.data() + kPrefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), folder.step);
  if (error != std::errc() || !name.starts_with(final_name(folder.step))) return std::nullopt;
  const std::string_view rest(end, static_cast<std::size_t>(name.data() + name.size() - end));
  if (rest.starts_with(kOld)) {
    folder.kind = CheckpointFolderKind::kSetAside;
  } else if (rest.starts_with(kTmp)) {
    folder.kind = CheckpointFolderKind::kTemporary;
  } else if (!rest.empty()) {
    return std::nullopt;
  }
  return folder;
}

}  // namespace

std::string final_folder(const std::string& root, int64_t step) {
  return (fs::path(root) / final_name(step)).string();
}

std::string set_aside_folder(const std::string& root, int64_t step, const std::string& token) {
  return final_folder(root, step) + std::string(kOld) + token;
}

std::string temporary_folder(const std::string& root, int64_t step, const std::string& token) {
  return final_folder(root, step) + std::string(kTmp) + token;
}

std::vector<CheckpointFolder> list_checkpoint_folders(const std::string& root) {
  std::vector<CheckpointFolder> folders;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
    if (auto folder = parse_name(it->path().filename().string())) {
      folder->path = it->path().string();
      folders.push_back(std::move(*folder));
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw InputError({{root, "cannot read the folder of checkpoints: " + error.message()}},
                     ExitCode::kNoInput);
  }
  std::sort(folders.begin(), folders.end(),
            [](const CheckpointFolder& a, const CheckpointFolder& b) {
              return std::tie(b.step, a.kind, a.path) < std::tie(a.step, b.kind, b.path);
            });
  return folders;
}

}  // namespace orrery
