#include "runtime/io/safetensors_writer.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "sim/base/error.h"
#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

static_assert(std::endian::native == std::endian::little);

[[noreturn]] void fail_tensor(const std::string& path, std::string_view name,
                              const std::string& message) {
  throw InputError({{path, "tensor " + in_quotes(name) + message}});
}

std::vector<const SafetensorInfo*> by_element_size(const std::vector<SafetensorInfo>& tensors) {
  std::vector<const SafetensorInfo*> order;
  order.reserve(tensors.size());
  for (const SafetensorInfo& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(),
                   [](const SafetensorInfo* a, const SafetensorInfo* b) {
                     return dtype_bytes(a->dtype) > dtype_bytes(b->dtype);
                   });
  return order;
}

std::string quoted(const std::string& path, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw InputError({{path, "found " + in_quotes(text) + ", expected UTF-8 text"}});
  }
}

std::string metadata_json(const std::string& path, const SafetensorsMetadata& metadata) {
  std::string text = "{";
  for (const auto& [key, value] : metadata) {
    text += (text.size() > 1 ? "," : "") + quoted(path, key) + ":" + quoted(path, value);
  }
  return text + "}";
}

std::string tensor_json(const SafetensorInfo& tensor, uint64_t begin, uint64_t end) {
  return nlohmann::ordered_json{
      {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}}
      .dump();
}

// Padded with spaces, so that the data begin at a multiple of 8 bytes.
std::string padded(const std::string& path, std::string header) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > json::kMaxFileBytes) {
    throw InputError(
        {{path, "the names of the tensors make a header of " + bytes_text(header.size()) +
                    ", expected at most " + bytes_text(json::kMaxFileBytes)}});
  }
  return header;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::string path, const std::vector<SafetensorInfo>& tensors,
                                     const SafetensorsMetadata& metadata, DiskHook hook)
    : file_(std::move(path), std::move(hook)) {
  std::string header = "{";
  if (!metadata.empty()) header += "\"__metadata__\":" + metadata_json(file_.path(), metadata);
  uint64_t end = 0;
  for (const SafetensorInfo* tensor : by_element_size(tensors)) {
    const std::string& name = tensor->name;
    if (name.empty() || name == "__metadata__")
      fail_tensor(file_.path(), name, ": this is not a name");
    const uint64_t begin = end;
    if (__builtin_add_overflow(begin, tensor_bytes(*tensor), &end)) {
      fail_tensor(file_.path(), name, ": the tensors are too large together");
    }
    if (!extents_.emplace(name, Extent{begin, end}).second) {
      fail_tensor(file_.path(), name, " is declared twice");
    }
    header += (header.size() > 1 ? "," : "") + quoted(file_.path(), name) + ":" +
              tensor_json(*tensor, begin, end);
  }

  const std::string text = padded(file_.path(), header + "}");
  const uint64_t length = text.size();
  file_.file().append(std::as_bytes(std::span(&length, 1)));
  file_.file().append(text);
  for (auto& [name, extent] : extents_) {
    extent.next += file_.file().size();
    extent.end += file_.file().size();
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const auto found = extents_.find(name);
  if (found == extents_.end()) fail_tensor(file_.path(), name, " was not declared");
  Extent& extent = found->second;
  if (bytes.size() > extent.end - extent.next) {
    fail_tensor(file_.path(), name,
                ": found " + with_commas(static_cast<long long>(bytes.size())) +
                    " more bytes, expected at most " +
                    with_commas(static_cast<long long>(extent.end - extent.next)));
  }
  file_.file().write_at(extent.next, bytes);
  extent.next += bytes.size();
}

void SafetensorsWriter::finish() {
  for (const auto& [name, extent] : extents_) {
    if (extent.next == extent.end) continue;
    fail_tensor(file_.path(), name,
                ": " + with_commas(static_cast<long long>(extent.end - extent.next)) +
                    " bytes of its data have not been written");
  }
  file_.commit();
}

}  // namespace orrery
