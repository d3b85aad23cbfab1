#include "runtime/io/safetensors_writer.h"

#include <random>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/safetensors_files.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::failure_of;
using testing::TemporaryDirectory;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST_CASE("a small file has exactly the bytes that the format asks for", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  SafetensorsWriter writer(
      path, {{"a", SafetensorsDtype::kU8, {3}}, {"b", SafetensorsDtype::kF32, {1, 1}}});
  writer.write("a", bytes_of("xyz"));
  writer.write("b", bytes_of("1234"));
  CHECK_FALSE(std::filesystem::exists(path));
  writer.finish();
  std::string header = R"({"__metadata__":{"format":"pt"},)"
                       R"("b":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  CHECK(content_of(path) == testing::safetensors_bytes(header, "1234xyz"));
  CHECK(directory.entries() == 1);
}

TEST_CASE("random tensors come back, in whatever pieces they were written", "[io]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  const auto below = [&](std::size_t n) { return random() % n; };
  const TemporaryDirectory directory;
  std::vector<SafetensorInfo> tensors;
  std::vector<std::string> data;
  for (int i = 0; i < 30; ++i) {
    SafetensorInfo tensor{"layer." + std::to_string(i) + ".\"\\\n\u00e9",
                          static_cast<SafetensorsDtype>(below(dtype_names().size())),
                          {}};
    for (std::size_t rank = below(4); rank > 0; --rank) {
      tensor.shape.push_back(static_cast<int64_t>(below(9)));
    }
    std::string bytes(tensor_bytes(tensor), '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    tensors.push_back(tensor);
    data.push_back(bytes);
  }
  SafetensorsWriter writer(directory.file("m"), tensors, {});
  std::vector<std::size_t> done(tensors.size());
  for (std::size_t left = tensors.size(); left > 0;) {
    const std::size_t i = below(tensors.size());
    if (done[i] == data[i].size() && done[i] > 0) continue;
    const std::size_t piece = std::min(data[i].size() - done[i], 1 + below(200));
    writer.write(tensors[i].name, bytes_of(data[i]).subspan(done[i], piece));
    done[i] += piece;
    left = 0;
    for (std::size_t j = 0; j < done.size(); ++j) left += data[j].size() - done[j];
  }
  writer.finish();

  const SafetensorsReader reader(directory.file("m"));
  REQUIRE(reader.tensors().size() == tensors.size());
  CHECK(reader.metadata().empty());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Safetensor& found = reader.at(tensors[i].name, tensors[i].dtype, tensors[i].shape);
    const auto address = reinterpret_cast<std::uintptr_t>(found.data.data());
    CHECK(address % dtype_bytes(found.dtype) == 0);
    CHECK(std::string(reinterpret_cast<const char*>(found.data.data()), found.data.size()) ==
          data[i]);
  }
}

TEST_CASE("no tensors make a file too", "[io]") {
  const TemporaryDirectory directory;
  SafetensorsWriter writer(directory.file("m"), {}, {});
  writer.finish();
  CHECK(content_of(directory.file("m")) == testing::safetensors_bytes("{}      ", ""));
  CHECK(SafetensorsReader(directory.file("m")).tensors().empty());
}

TEST_CASE("the writer refuses what is not as declared", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  const SafetensorInfo a{"a", SafetensorsDtype::kU8, {3}};
  const auto failure = [&](const std::vector<SafetensorInfo>& tensors, const std::string& name,
                           const std::string& data) {
    return failure_of([&] {
             SafetensorsWriter writer(path, tensors);
             writer.write(name, bytes_of(data));
             writer.finish();
           })
        .message;
  };
  CHECK(failure({a}, "b", "x") == path + ": tensor \"b\" was not declared");
  CHECK(failure({a}, "a", "wxyz") ==
        path + ": tensor \"a\": found 4 more bytes, expected at most 3");
  CHECK(failure({a}, "a", "x") ==
        path + ": tensor \"a\": 2 bytes of its data have not been written");
  CHECK(failure({a, a}, "a", "xyz") == path + ": tensor \"a\" is declared twice");
  CHECK(failure({{"", SafetensorsDtype::kU8, {}}}, "", "x").find("not a name") !=
        std::string::npos);
  CHECK(failure({{"n\xff", SafetensorsDtype::kU8, {}}}, "", "x").find("UTF-8") !=
        std::string::npos);
  CHECK(failure({{"n", SafetensorsDtype::kU8, {-1}}}, "", "x").find("negative size") !=
        std::string::npos);
  CHECK(directory.entries() == 0);
}

TEST_CASE("a writer that fails anywhere leaves the old file and no other", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("m");
  testing::write(path, "old");
  int failed = 0;
  for (int fatal = 0;; ++fatal) {
    int count = 0;
    bool renamed = false;
    const DiskHook hook = [&](DiskStep step, const std::string&) {
      if (count++ == fatal) throw Error(ExitCode::kIoError, "injected");
      renamed |= step == DiskStep::kRename;
    };
    const testing::Failure failure = failure_of([&] {
      SafetensorsWriter writer(path, {{"a", SafetensorsDtype::kU8, {3}}}, {}, hook);
      writer.write("a", bytes_of("xyz"));
      writer.finish();
    });
    CAPTURE(fatal);
    CHECK(directory.entries() == 1);
    CHECK((content_of(path) == "old") == !renamed);
    if (failure.message.empty()) break;
    CHECK(failure.code == ExitCode::kIoError);
    ++failed;
  }
  CHECK(failed == 7);  // create, length, header, data, flush, rename, flush of the folder
}

}  // namespace
}  // namespace orrery
