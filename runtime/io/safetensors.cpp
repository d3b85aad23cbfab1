#include "runtime/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

#include "runtime/io/fail.h"
#include "runtime/io/file_kind.h"
#include "sim/base/error.h"
#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kLengthBytes = 8;
constexpr char kMetadata[] = "__metadata__";

[[noreturn]] void fail_no_safetensors(const MappedFile& file, const std::string& why) {
  const std::string kind = guess_file_kind(file.bytes());
  fail(file.path(), "this is not a safetensors file: " + why + (kind.empty() ? "" : "; " + kind));
}

// The JSON text of the header.
std::string_view header_of(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < kLengthBytes) {
    fail_no_safetensors(file, "found " + bytes_text(bytes.size()) + ", expected at least 8 bytes");
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxHeaderBytes) {
    fail_no_safetensors(file, "the header length is " + std::to_string(length) +
                                  ", expected at most " + bytes_text(kMaxHeaderBytes));
  }
  if (length > bytes.size() - kLengthBytes) {
    fail_no_safetensors(file, "its header should have " + bytes_text(length) +
                                  ", but the file has " + bytes_text(bytes.size()) +
                                  "; it may be truncated");
  }
  const char* text = reinterpret_cast<const char*>(bytes.data()) + kLengthBytes;
  if (length == 0 || *text != '{') fail_no_safetensors(file, "its header does not begin with '{'");
  return {text, static_cast<std::size_t>(length)};
}

struct Place {
  uint64_t begin = 0, end = 0;  // in the data, which follow the header
  std::size_t tensor = 0;       // index
};

std::string metadata_text(const json::Node& node) {
  if (node.kind == json::Node::Kind::kString) return node.string;
  throw InputError({{node.where(std::string("/") + kMetadata),
                     std::string("found ") + json::kind_name(node.kind) + ", expected a string"}});
}

Place read_tensor(const json::Node& node, const std::string& file, Safetensor& tensor) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Diagnostics findings;
  json::Reader r(node, json::child_pointer("", tensor.name), findings);
  tensor.dtype = static_cast<SafetensorsDtype>(r.choice("dtype", dtype_names()));
  tensor.shape = r.integers("shape", {0, kInfinity});
  const std::vector<int64_t> offsets = r.integers("data_offsets", {0, kInfinity});
  r.finish();
  findings.throw_if_any();

  const std::string name = "tensor " + in_quotes(tensor.name);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail(file, name + ": data_offsets should be two integers, begin and end, in this order");
  }
  uint64_t expected = 0;
  try {
    expected = tensor_bytes(tensor);
  } catch (const InputError& e) {
    fail(file, e.what());
  }
  const Place place{static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1])};
  if (place.end - place.begin != expected) {
    fail(file, name + ": found " + std::to_string(place.end - place.begin) + " bytes, expected " +
                   std::to_string(expected) + " for " + dtype_name(tensor.dtype) + " " +
                   shape_text(tensor.shape));
  }
  return place;
}

// The data of the tensors must fill the rest of the file, without holes or overlaps: otherwise a
// file could hide data, or be other than its header says.
void check_places(const MappedFile& file, const std::vector<Safetensor>& tensors,
                  std::vector<Place> places, uint64_t data_bytes) {
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t end = 0;
  for (const Place& place : places) {
    const std::string name = "tensor " + in_quotes(tensors[place.tensor].name);
    if (place.begin != end) {
      fail(file.path(), name + " begins at data offset " + std::to_string(place.begin) +
                            (place.begin < end ? " and overlaps" : ", with a hole after") +
                            " the data before it, which end at " + std::to_string(end));
    }
    if (place.end > data_bytes) {
      fail(file.path(), name + " ends at data offset " + std::to_string(place.end) +
                            ", but the file has only " + bytes_text(data_bytes) +
                            " of data; it may be truncated");
    }
    end = place.end;
  }
  if (end != data_bytes) {
    fail(file.path(), "found " + bytes_text(data_bytes) +
                          " of data, but the tensors end at offset " + std::to_string(end));
  }
}

// Tensor -> path of its shard.
std::map<std::string, std::string> read_index(const std::string& folder, const std::string& path) {
  const json::Node root = json::parse_json_file(path);
  Diagnostics findings;
  json::Reader reader(root, "", findings);
  reader.ignore("metadata");
  const json::Node* weight_map = reader.raw("weight_map");
  if (weight_map == nullptr || weight_map->kind != json::Node::Kind::kObject) {
    reader.fail("", "expected \"weight_map\", an object from tensor names to file names");
  }
  reader.finish();
  findings.throw_if_any();

  std::map<std::string, std::string> shard_of;
  for (const auto& [name, shard] : weight_map->members) {
    const bool plain = shard.kind == json::Node::Kind::kString && !shard.string.empty() &&
                       shard.string.find('/') == std::string::npos;
    if (!plain) {
      findings.add(shard.where(json::child_pointer("/weight_map", name)),
                   "expected the name of a file in the same folder");
    }
    shard_of[name] = (std::filesystem::path(folder) / shard.string).string();
  }
  findings.throw_if_any();
  return shard_of;
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::string& path) : path_(path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    open_file(path);
  } else if (const fs::path one = fs::path(path) / "model.safetensors"; fs::exists(one, ignored)) {
    open_file(one.string());
  } else {
    const fs::path index = fs::path(path) / "model.safetensors.index.json";
    if (!fs::exists(index, ignored)) {
      throw InputError({{path,
                         "found neither model.safetensors nor model.safetensors.index.json "
                         "in this folder"}},
                       ExitCode::kNoInput);
    }
    open_index(path, index.string());
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const Safetensor& a, const Safetensor& b) { return a.name < b.name; });
}

void SafetensorsReader::open_file(const std::string& path) {
  files_.emplace_back(path);
  const MappedFile& file = files_.back();
  const std::string_view header = header_of(file);
  const std::span<const std::byte> data = file.bytes().subspan(kLengthBytes + header.size());
  const json::Node root = json::parse_json(header, path);

  std::vector<Safetensor> tensors;
  std::vector<Place> places;
  for (const auto& [name, node] : root.members) {
    if (name == kMetadata) {
      if (node.kind != json::Node::Kind::kObject) fail(path, "__metadata__ is no object");
      for (const auto& [key, value] : node.members) {
        const std::string text = metadata_text(value);
        if (files_.size() == 1) metadata_[key] = text;
      }
      continue;
    }
    Safetensor& tensor = tensors.emplace_back();
    tensor.name = name;
    tensor.file = path;
    Place& place = places.emplace_back(read_tensor(node, path, tensor));
    place.tensor = tensors.size() - 1;
  }
  check_places(file, tensors, places, data.size());
  for (const Place& p : places) tensors[p.tensor].data = data.subspan(p.begin, p.end - p.begin);
  std::move(tensors.begin(), tensors.end(), std::back_inserter(tensors_));
}

void SafetensorsReader::open_index(const std::string& folder, const std::string& path) {
  std::map<std::string, std::string> shard_of = read_index(folder, path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) open_file(shard);
  for (const Safetensor& tensor : tensors_) {
    const auto found = shard_of.find(tensor.name);
    if (found == shard_of.end() || found->second != tensor.file) {
      fail(tensor.file, "tensor " + in_quotes(tensor.name) + " is in this file, but " + path +
                            (found == shard_of.end() ? " does not name it"
                                                     : " says that it is in " + found->second));
    }
    shard_of.erase(found);
  }
  if (!shard_of.empty()) {
    fail(shard_of.begin()->second, "tensor " + in_quotes(shard_of.begin()->first) +
                                       " is not in this file, but " + path + " says that it is");
  }
}

const Safetensor* SafetensorsReader::find(std::string_view name) const {
  const auto found =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const Safetensor& t, std::string_view n) { return t.name < n; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

const Safetensor& SafetensorsReader::at(std::string_view name) const {
  if (const Safetensor* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  for (const Safetensor& t : tensors_) names.push_back(t.name);
  const std::string near = nearest_name(name, names);
  fail(path_, "tensor " + in_quotes(name) + " is missing" +
                  (near.empty() ? "" : "; the nearest name is " + in_quotes(near)));
}

const Safetensor& SafetensorsReader::at(std::string_view name, SafetensorsDtype dtype,
                                        std::span<const int64_t> shape) const {
  const Safetensor& tensor = at(name);
  if (tensor.dtype != dtype || !std::ranges::equal(tensor.shape, shape)) {
    fail(tensor.file, "tensor " + in_quotes(name) + ": found " + dtype_name(tensor.dtype) + " " +
                          shape_text(tensor.shape) + ", expected " + dtype_name(dtype) + " " +
                          shape_text(shape));
  }
  return tensor;
}

}  // namespace orrery
