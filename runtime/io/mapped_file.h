// A whole file as read-only memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace orrery {

class MappedFile {
 public:
  // Missing, unreadable or not a regular file: InputError with ExitCode::kNoInput.
  explicit MappedFile(std::string path);

  ~MappedFile() { unmap(); }
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  // Page-aligned. Valid as long as the object, also after a move; if somebody shortens the file
  // meanwhile, reading what is gone ends the process (SIGBUS).
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void unmap();

  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace orrery
