// Writing the safetensors format without holding the tensors in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/io/durable_file.h"
#include "runtime/io/safetensors.h"

namespace orrery {

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

// All tensors are declared first; then their data come in any order, each tensor in as many pieces
// as the caller likes. The file appears under its name at finish(); a writer that is destroyed
// before leaves nothing. Larger elements are stored first, so that every tensor is aligned to its
// element, which PyTorch's loader needs.
class SafetensorsWriter {
 public:
  // Throws InputError for an empty or repeated name, Error when the file cannot be written.
  SafetensorsWriter(std::string path, const std::vector<SafetensorInfo>& tensors,
                    const SafetensorsMetadata& metadata = {{"format", "pt"}}, DiskHook hook = {});

  // The next bytes of tensor `name`. Unknown name or more than declared: InputError.
  void write(std::string_view name, std::span<const std::byte> bytes);
  // InputError naming a tensor whose data are not complete; else flushes and renames.
  void finish();

 private:
  struct Extent {
    uint64_t next = 0, end = 0;  // offsets in the file
  };
  AtomicFile file_;
  std::map<std::string, Extent, std::less<>> extents_;
};

}  // namespace orrery
