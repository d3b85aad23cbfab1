#include "runtime/io/checkpoint_manifest.h"

#include <filesystem>
#include <limits>
#include <string_view>
#include <utility>

#include "runtime/io/fail.h"
#include "sim/base/error.h"
#include "sim/base/file.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::string_view kChecksumKey = ",\n  \"manifest_xxh3\": \"";
constexpr std::size_t kChecksumDigits = 16;

std::string manifest_path(const std::string& folder) {
  return (std::filesystem::path(folder) / kManifestName).string();
}

uint64_t checksum_from(json::Reader& r, std::string_view key) {
  const std::string text = r.string(key);
  if (text.size() == kChecksumDigits &&
      text.find_first_not_of("0123456789abcdef") == std::string::npos) {
    return std::stoull(text, nullptr, 16);
  }
  r.fail(key, "found " + in_quotes(text) + ", expected 16 hexadecimal digits");
  return 0;
}

void check_text(const std::string& path, std::string_view text) {
  const std::size_t end = text.rfind(kChecksumKey);
  if (end == std::string_view::npos) {
    fail(path, "the manifest does not end with its checksum; it is truncated or was changed");
  }
  const std::string found = checksum_text(checksum_of(text.substr(0, end)));
  const std::string_view expected = text.substr(end + kChecksumKey.size(), kChecksumDigits);
  if (found != expected) {
    fail(path, "the manifest is damaged or was changed: its XXH3 checksum is " + found +
                   ", expected " + in_quotes(expected));
  }
}

CheckpointManifest parse(const std::string& path, std::string_view text) {
  json::Node root = json::parse_json(text, path);
  Diagnostics findings;
  json::Reader reader(root, "", findings);
  const int64_t version = reader.integer("schema_version");
  if (version != kCheckpointSchemaVersion) {
    fail(path, "found a checkpoint of schema_version " + std::to_string(version) + ", expected " +
                   std::to_string(kCheckpointSchemaVersion));
  }
  CheckpointManifest manifest;
  constexpr double kMaxInt = std::numeric_limits<int>::max();
  manifest.step = reader.integer("step", {0, std::numeric_limits<double>::infinity()});
  manifest.world_size = static_cast<int>(reader.integer("world_size", {1, kMaxInt}));
  if (const json::Node* state = reader.raw("state")) manifest.state = *state;
  if (manifest.state.kind != json::Node::Kind::kObject) {
    reader.fail("state", std::string("found ") + json::kind_name(manifest.state.kind) +
                             ", expected an object");
  }
  reader.objects("files", [&](json::Reader& r) {
    const std::string expected = rank_file_name(static_cast<int>(manifest.files.size()));
    const std::string name = r.string("name");
    if (name != expected) {
      r.fail("name", "found " + in_quotes(name) + ", expected " + in_quotes(expected));
    }
    const int64_t bytes = r.integer("bytes", {0, std::numeric_limits<double>::infinity()});
    manifest.files.push_back({static_cast<uint64_t>(bytes), checksum_from(r, "xxh3")});
    r.finish();
  });
  checksum_from(reader, "manifest_xxh3");
  reader.finish();
  if (manifest.files.size() != static_cast<std::size_t>(manifest.world_size)) {
    reader.fail("files", "found " + std::to_string(manifest.files.size()) +
                             " files, expected one for each of " +
                             std::to_string(manifest.world_size) + " ranks");
  }
  findings.throw_if_any();
  return manifest;
}

}  // namespace

void write_manifest(const std::string& folder, int64_t step, const std::string& state_json,
                    const std::vector<CheckpointFileSummary>& files, const DiskHook& hook) {
  std::string text = "{\n  \"schema_version\": " + std::to_string(kCheckpointSchemaVersion) +
                     ",\n  \"step\": " + std::to_string(step) +
                     ",\n  \"world_size\": " + std::to_string(files.size()) +
                     ",\n  \"state\": " + state_json + ",\n  \"files\": [";
  for (std::size_t rank = 0; rank < files.size(); ++rank) {
    text += std::string(rank > 0 ? "," : "") + "\n    " + R"({"name": ")" +
            rank_file_name(static_cast<int>(rank)) + R"(", "bytes": )" +
            std::to_string(files[rank].bytes) + R"(, "xxh3": ")" +
            checksum_text(files[rank].checksum) + "\"}";
  }
  text += "\n  ]";
  text += std::string(kChecksumKey) + checksum_text(checksum_of(text)) + "\"\n}\n";

  const std::string path = manifest_path(folder);
  parse(path, text);  // refuses now what could not be read back
  OutputFile file(path, hook);
  file.append(text);
  file.sync_and_close();
}

CheckpointManifest read_manifest(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    fail(folder, "there is no such checkpoint folder", ExitCode::kNoInput);
  }
  const std::string path = manifest_path(folder);
  if (!std::filesystem::exists(path, ignored)) {
    fail(folder,
         std::string("this folder has no ") + kManifestName +
             ": it is no checkpoint, or one that was not finished",
         ExitCode::kNoInput);
  }
  const std::string text = read_file(path, json::kMaxFileBytes);
  check_text(path, text);
  return parse(path, text);
}

}  // namespace orrery
