// Reading tensors in the safetensors format (github.com/huggingface/safetensors): an 8-byte
// little-endian header length, a JSON header that gives every tensor's dtype, shape and place, then
// the data. Headers up to 64 MiB are read (json::kMaxFileBytes); the format allows 100 MB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/mapped_file.h"

namespace orrery {

enum class SafetensorsDtype : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
};

std::span<const std::string_view> dtype_names();  // by SafetensorsDtype
const char* dtype_name(SafetensorsDtype dtype);   // as in the header: "BF16", "F8_E4M3"
std::size_t dtype_bytes(SafetensorsDtype dtype);

struct SafetensorInfo {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<int64_t> shape;  // row-major; empty: a scalar
};

// Of one tensor. Throws InputError, naming the tensor, when a size is negative or the product does
// not fit 63 bits.
uint64_t tensor_bytes(const SafetensorInfo& tensor);

std::string shape_text(std::span<const int64_t> shape);  // "[7168, 2048]"

struct Safetensor : SafetensorInfo {
  std::span<const std::byte> data;  // in the mapped file: row-major, aligned to one byte at least
  std::string file;
};

// Maps one file, or the model in a folder: `model.safetensors`, or the shards that
// `model.safetensors.index.json` names. The constructor checks every header completely and throws
// InputError naming file and tensor; the data are read from disk only when they are touched.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path);

  const std::vector<Safetensor>& tensors() const { return tensors_; }  // sorted by name
  const Safetensor* find(std::string_view name) const;                 // nullptr: not there
  // Not there: InputError with the nearest name.
  const Safetensor& at(std::string_view name) const;
  // Not of this dtype and shape: InputError.
  const Safetensor& at(std::string_view name, SafetensorsDtype dtype,
                       std::span<const int64_t> shape) const;
  // The __metadata__ of the file; of a model in shards, the first shard's.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }

 private:
  void open_file(const std::string& path);
  void open_index(const std::string& folder, const std::string& path);

  std::string path_;
  std::vector<MappedFile> files_;
  std::vector<Safetensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace orrery
