#include "runtime/io/safetensors.h"

#include <algorithm>
#include <array>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/safetensors_files.h"

namespace orrery {
namespace {

using testing::Failure;
using testing::failure_of;
using testing::safetensors_bytes;
using testing::TemporaryDirectory;

std::string tensor_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What reading a file of this header and these data says.
Failure failure_for(const std::string& header, const std::string& data) {
  const TemporaryDirectory directory;
  testing::write(directory.file("m"), safetensors_bytes(header, data));
  Failure failure = failure_of([&] { SafetensorsReader reader(directory.file("m")); });
  CHECK(failure.code == ExitCode::kBadInput);
  CHECK(failure.message.starts_with(directory.file("m")));
  return failure;
}

bool tensor_says(const Failure& failure, const std::string& text) {
  INFO(failure.message);
  const bool found = failure.message.find(text) != std::string::npos;
  CHECK(found);
  return found;
}

TEST_CASE("a safetensors file is read", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m.safetensors");
  testing::write(path, safetensors_bytes(
                           R"({"__metadata__":{"format":"pt"},)"
                           R"("w":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                           R"("b/ \"q\"":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                           R"("none":{"dtype":"F8_E4M3","shape":[0,7],"data_offsets":[16,16]}}   )",
                           "scal0123456789AB"));
  const SafetensorsReader reader(path);
  REQUIRE(reader.tensors().size() == 3);
  CHECK(reader.tensors()[0].name == "b/ \"q\"");
  CHECK(reader.metadata().at("format") == "pt");
  const Safetensor& w = reader.at("w");
  CHECK(w.dtype == SafetensorsDtype::kBF16);
  CHECK(w.shape == std::vector<int64_t>{2, 3});
  CHECK(tensor_text(w.data) == "0123456789AB");
  CHECK(w.file == path);
  CHECK(tensor_text(reader.at("b/ \"q\"").data) == "scal");
  CHECK(reader.at("none").data.empty());
  CHECK(reader.find("x") == nullptr);

  const std::array<int64_t, 2> shape = {2, 3};
  CHECK(&reader.at("w", SafetensorsDtype::kBF16, shape) == &w);
  const Failure other = failure_of([&] { (void)reader.at("w", SafetensorsDtype::kF16, shape); });
  CHECK(other.message == path + ": tensor \"w\": found BF16 [2, 3], expected F16 [2, 3]");
  const Failure missing = failure_of([&] { (void)reader.at("nome"); });
  CHECK(missing.message == path + ": tensor \"nome\" is missing; the nearest name is \"none\"");
}

TEST_CASE("every dtype has the name and size of the format", "[io]") {
  for (std::size_t i = 0; i < dtype_names().size(); ++i) {
    const auto dtype = static_cast<SafetensorsDtype>(i);
    const std::string name = dtype_name(dtype);
    CAPTURE(name);
    // The number in a name is its bits: F8_E4M3, BF16, I64.
    const std::size_t digit = name.find_first_of("0123456789");
    const std::size_t bits = name == "BOOL" ? 8 : std::stoul(name.substr(digit));
    CHECK(dtype_bytes(dtype) * 8 == bits);
    const TemporaryDirectory directory;
    std::string header = R"({"t":{"shape":[2],"data_offsets":[0,)";
    header += std::to_string(2 * dtype_bytes(dtype)) + R"(],"dtype":")";
    header += name + "\"}}";
    testing::write(directory.file("m"),
                   safetensors_bytes(header, std::string(2 * dtype_bytes(dtype), 'x')));
    CHECK(SafetensorsReader(directory.file("m")).at("t").dtype == dtype);
  }
  CHECK(dtype_names().size() == 16);
}

TEST_CASE("a file that is no safetensors file is refused", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  const auto failure_with = [&](const std::string& content) {
    testing::write(path, content);
    Failure failure = failure_of([&] { SafetensorsReader reader(path); });
    CHECK(failure.code == ExitCode::kBadInput);
    return failure;
  };
  tensor_says(failure_with(""), "expected at least 8 bytes; it is empty");
  tensor_says(failure_with("version https://git-lfs.github.com/spec/v1"), "run: git lfs pull");
  tensor_says(failure_with(std::string("PK\x03\x04") + std::string(20, 'x')), "PyTorch");
  tensor_says(failure_with(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10)),  // 100,000,001
              "the header length is 100000001, expected at most 100,000,000 bytes");
  tensor_says(failure_with(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "it may be truncated");
  tensor_says(failure_with(std::string("\0\0\0\0\0\0\0\0", 8)), "does not begin with '{'");
  tensor_says(failure_with(safetensors_bytes(" {}", "")), "does not begin with '{'");
  const Failure missing = failure_of([&] { SafetensorsReader reader(directory.file("no")); });
  CHECK(missing.code == ExitCode::kNoInput);
}

TEST_CASE("a header that is wrong is refused, naming the tensor", "[io]") {
  tensor_says(failure_for("{", ""), "unexpected end of file inside an object");
  tensor_says(failure_for(R"({"t":1})", ""), "/t: found 1, expected an object");
  tensor_says(failure_for(R"({"t":{"dtype":"BF61","shape":[1],"data_offsets":[0,2]}})", "xx"),
              "did you mean \"BF16\"?");
  tensor_says(failure_for(R"({"t":{"shape":[1],"data_offsets":[0,2]}})", "xx"),
              "missing key \"dtype\"");
  tensor_says(failure_for(R"({"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "xxxx"),
              "/t/shape/0: found -1");
  tensor_says(failure_for(R"({"t":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", "xxxx"),
              "/t/shape/0");
  tensor_says(failure_for(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":0}})", "x"),
              "\"x\"");
  tensor_says(failure_for(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "x"),
              "tensor \"t\": data_offsets should be two integers");
  tensor_says(failure_for(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "x"),
              "tensor \"t\": data_offsets should be two integers");
  tensor_says(failure_for(R"({"t":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}})", "xxxx"),
              "tensor \"t\": found 4 bytes, expected 6 for F16 [3]");
  tensor_says(
      failure_for(R"({"t":{"dtype":"F16","shape":[4294967296,4294967296],"data_offsets":[0,4]}})",
                  "xxxx"),
      "the shape [4294967296, 4294967296] is too large");
  tensor_says(failure_for(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                          R"("t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                          "xx"),
              "duplicate key \"t\"");
  tensor_says(failure_for(R"({"__metadata__":{"format":1}})", ""), "expected a string");
  tensor_says(failure_for(R"({"__metadata__":[]})", ""), "__metadata__ is no object");
}

TEST_CASE("tensors must fill the data exactly", "[io]") {
  const auto header = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + b + "}}";
  };
  tensor_says(failure_for(header("[0,2]", "[1,3]"), "xxx"),
              "tensor \"b\" begins at data offset 1 and overlaps");
  tensor_says(failure_for(header("[0,2]", "[3,5]"), "xxxxx"), "with a hole after");
  tensor_says(failure_for(header("[1,3]", "[3,5]"), "xxxxx"),
              "tensor \"a\" begins at data offset 1");
  tensor_says(failure_for(header("[2,4]", "[0,2]"), "xxx"),
              "tensor \"a\" ends at data offset 4, but the file has only 3 bytes");
  tensor_says(failure_for(header("[2,4]", "[0,2]"), "xxxxx"), "found 5 bytes");
  tensor_says(failure_for(header("[9223372036854775805,9223372036854775807]", "[0,2]"), "xx"),
              "begins at data offset 9223372036854775805");
}

struct Shards {
  TemporaryDirectory directory;
  void shard(const std::string& file, const std::string& tensor) const {
    testing::write(directory.file(file),
                   safetensors_bytes(
                       R"({")" + tensor + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                       tensor.substr(0, 1)));
  }
  void index(const std::string& weight_map) const {
    testing::write(directory.file("model.safetensors.index.json"),
                   R"({"metadata":{"total_size":2},"weight_map":)" + weight_map + "}");
  }
  Failure failure() const {
    return failure_of([&] { SafetensorsReader reader(directory.path()); });
  }
};

TEST_CASE("a folder is read through its index or as one file", "[io]") {
  const Shards model;
  const Failure none = model.failure();
  CHECK(none.code == ExitCode::kNoInput);
  tensor_says(none, "found neither model.safetensors nor model.safetensors.index.json");

  model.shard("s1", "alpha");
  model.shard("s2", "beta");
  model.index(R"({"beta":"s2","alpha":"s1"})");
  const SafetensorsReader sharded(model.directory.path());
  CHECK(sharded.tensors().size() == 2);
  CHECK(tensor_text(sharded.at("beta").data) == "b");
  CHECK(sharded.at("alpha").file == model.directory.file("s1"));

  model.shard("model.safetensors", "gamma");
  CHECK(SafetensorsReader(model.directory.path()).tensors().front().name == "gamma");
}

TEST_CASE("index and shards must agree", "[io]") {
  const Shards model;
  model.shard("s1", "alpha");
  model.shard("s2", "beta");
  model.index(R"({"alpha":"s1"})");
  CHECK_NOTHROW(SafetensorsReader(model.directory.path()));  // s2 is not part of the model
  model.index(R"({"alpha":"s1","beta":"s1"})");
  tensor_says(model.failure(), "s1: tensor \"beta\" is not in this file");
  model.index(R"({"alpha":"s1","gamma":"s2"})");
  tensor_says(model.failure(), "s2: tensor \"beta\" is in this file, but");
  model.index(R"({"alpha":"s2","beta":"s1"})");
  tensor_says(model.failure(), "says that it is in");
  model.index(R"({"alpha":"../s1"})");
  tensor_says(model.failure(), "/weight_map/alpha: expected the name of a file in the same folder");
  model.index(R"({"alpha":1})");
  tensor_says(model.failure(), "/weight_map/alpha: expected the name of a file");
  model.index("[]");
  tensor_says(model.failure(), "expected \"weight_map\"");
  model.index(R"({"alpha":"s3"})");
  CHECK(model.failure().code == ExitCode::kNoInput);
}

}  // namespace
}  // namespace orrery
