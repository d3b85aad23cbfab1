// manifest.json, which makes a folder a checkpoint: what was saved, and how to tell that it is
// whole. Its last member is the XXH3 checksum of the text before it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/io/checkpoint_file.h"
#include "runtime/io/durable_file.h"
#include "sim/base/json_reader.h"

namespace orrery {

constexpr int kCheckpointSchemaVersion = 1;
constexpr char kManifestName[] = "manifest.json";

struct CheckpointManifest {
  int64_t step = 0;
  int world_size = 0;
  json::Node state;                          // an object: whatever the caller saved
  std::vector<CheckpointFileSummary> files;  // by rank
};

// `state_json` is the text of a JSON object. Throws InputError when it is not.
void write_manifest(const std::string& folder, int64_t step, const std::string& state_json,
                    const std::vector<CheckpointFileSummary>& files, const DiskHook& hook);

// No folder or no manifest: InputError with kNoInput. Damaged, changed or of another schema:
// InputError. Does not look at the rank files.
CheckpointManifest read_manifest(const std::string& folder);

}  // namespace orrery
