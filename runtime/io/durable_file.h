// Writing that survives a crash: every step that changes the disk, in an order that the caller
// chooses, with the flushes that make the order hold after a power failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace orrery {

enum class DiskStep : uint8_t {
  kMakeFolder,
  kCreate,
  kWrite,
  kSync,  // flush a file
  kRename,
  kSyncFolder,  // flush the names in a folder
  kRemove,
};
// Called before each step with the path that it changes (the new name of a rename). Tests let it
// throw, or end the process, at every step in turn.
using DiskHook = std::function<void(DiskStep, const std::string& path)>;

// All functions throw Error: kCannotCreate when a name cannot be made, kIoError when data cannot be
// written or flushed.

// A new file. The destructor closes it and leaves what was written.
class OutputFile {
 public:
  // Fails when the file exists. Permissions are 0666 less the umask.
  explicit OutputFile(std::string path, DiskHook hook = {});
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  // Does not move the place where append() goes on.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  void sync_and_close();

  uint64_t size() const { return appended_; }  // bytes appended
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  DiskHook hook_;
  int fd_ = -1;
  uint64_t appended_ = 0;
};

// A file that appears under its name, replacing an older one, only when it is whole.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path, DiskHook hook = {});
  ~AtomicFile();  // removes what was not committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  OutputFile& file() { return file_; }
  const std::string& path() const { return path_; }
  void commit();  // flush, rename, flush the folder

 private:
  std::string path_;
  DiskHook hook_;
  OutputFile file_;
  bool committed_ = false;
};

void make_folder(const std::string& path, const DiskHook& hook = {});   // one level; must not exist
void make_folders(const std::string& path, const DiskHook& hook = {});  // as mkdir -p
void rename_path(const std::string& from, const std::string& to, const DiskHook& hook = {});
void sync_folder(const std::string& path, const DiskHook& hook = {});
// A file, or a folder with all its content; fine when it is not there.
void remove_tree(const std::string& path, const DiskHook& hook = {});

std::string parent_folder(const std::string& path);  // "." for a bare name
std::string random_suffix();  // 16 hexadecimal digits that nobody else has drawn

}  // namespace orrery
