// The file that one rank writes into a checkpoint: named byte ranges (blobs), then a JSON index of
// them, then a 32-byte footer: uint64 offset of the index, uint64 its size, "ORRCKPT1", uint64 XXH3
// of everything before this number. All little-endian. Blobs begin at multiples of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/checksum.h"
#include "runtime/io/durable_file.h"
#include "runtime/io/mapped_file.h"

namespace orrery {

constexpr std::size_t kBlobAlignment = 64;

std::string rank_file_name(int rank);  // "rank_00003.bin"

// What is written must add up: a repeated or empty blob name is an InputError, bytes outside a blob
// an Error with kInternal.
class CheckpointFileWriter {
 public:
  explicit CheckpointFileWriter(std::string path, DiskHook hook = {});

  // One whole blob.
  void add(std::string_view name, std::span<const std::byte> bytes);
  // A blob in pieces: it ends where the next begins.
  void begin(std::string_view name);
  void append(std::span<const std::byte> bytes);

  void finish();  // writes index and footer, and flushes

 private:
  struct Blob {
    std::string name;
    uint64_t offset = 0, bytes = 0;
  };
  void write(std::span<const std::byte> bytes);

  OutputFile file_;
  Checksum checksum_;
  std::vector<Blob> blobs_;
  std::map<std::string, std::size_t, std::less<>> index_;  // name -> place in blobs_
};

// What the footer says; cheap to read.
struct CheckpointFileSummary {
  uint64_t bytes = 0;  // of the whole file
  uint64_t checksum = 0;
};
// Missing file: InputError with kNoInput. Too short or no footer: InputError.
CheckpointFileSummary read_summary(const std::string& path);

class CheckpointFile {
 public:
  // Maps the file and checks it against `expected`, reading all of it. Throws InputError.
  CheckpointFile(const std::string& path, const CheckpointFileSummary& expected);

  // In the order of writing.
  const std::vector<std::string>& names() const { return names_; }
  bool has(std::string_view name) const { return blobs_.find(name) != blobs_.end(); }
  // Mapped memory; not there: InputError with the nearest name.
  std::span<const std::byte> blob(std::string_view name) const;
  const std::string& path() const { return file_.path(); }

 private:
  void read_index(uint64_t offset, uint64_t bytes);

  MappedFile file_;
  std::vector<std::string> names_;
  std::map<std::string, std::span<const std::byte>, std::less<>> blobs_;
};

}  // namespace orrery
