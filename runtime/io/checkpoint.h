// Checkpoints: a folder step_00001234/ with one file per rank and a manifest.
//
// A checkpoint is written as step_00001234.tmp-<token>, flushed, and renamed when it is complete,
// so that at every moment each folder with a final name is whole. Where one of the same step is
// there already, it is set aside as step_00001234.old-<token> before, and counts until the new one
// has its name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/io/checkpoint_file.h"
#include "runtime/io/checkpoint_manifest.h"
#include "runtime/io/durable_file.h"

namespace orrery {

// Who saves, and where. One job at a time may write to a root.
struct CheckpointJob {
  std::string root;  // holds the checkpoint folders; made when missing; the same on all ranks
  int rank = 0, world_size = 1;
  std::string token;              // letters and digits; the same on all ranks
  std::size_t keep_last = 2;      // at least 1
  std::function<void()> barrier;  // returns once all ranks have called it; empty: one rank
  DiskHook hook;
};

struct SavedCheckpoint {
  std::string folder;
  std::vector<std::string> warnings;  // of rank 0: what could not be tidied up, what looks wrong
};

// Called by all ranks of the job. Each writes its blobs through `write_blobs` into its own file;
// rank 0 then writes the manifest, gives the folder its name and removes what `keep_last` does not
// keep. `state_json`, the text of a JSON object, is rank 0's; the others' is not used.
//
// When a rank cannot write, or `write_blobs` throws, all ranks still pass every barrier, nothing
// gets the final name, and that rank and rank 0 throw: Error with kCannotCreate or kIoError, or
// what `write_blobs` threw. Another rank that returns may thus be early by a moment: the job ends
// by rank 0's error.
SavedCheckpoint save_checkpoint(const CheckpointJob& job, int64_t step,
                                const std::string& state_json,
                                const std::function<void(CheckpointFileWriter&)>& write_blobs);

// How much of a checkpoint is looked at to tell whether it is whole.
enum class CheckpointCheck : uint8_t {
  kSizes,      // the manifest, and the size and footer of each rank's file
  kChecksums,  // also every byte of every file, on this rank alone
};
// Throws InputError saying what is wrong.
CheckpointManifest check_checkpoint(const std::string& folder, CheckpointCheck check);

struct LatestCheckpoint {
  struct Found {
    std::string folder;
    int64_t step = 0;
    int world_size = 0;
  };
  std::optional<Found> found;
  std::vector<std::string> warnings;  // what was passed over and why, newest first
};
// The whole checkpoint of the highest step. A root that does not exist has none.
LatestCheckpoint find_latest_checkpoint(const std::string& root,
                                        CheckpointCheck check = CheckpointCheck::kChecksums);

struct LoadedCheckpoint {
  int64_t step = 0;
  json::Node state;     // an object
  CheckpointFile file;  // this rank's
};
// Checks the manifest and this rank's file. Throws InputError: kNoInput when the folder, its
// manifest or the file is missing, else kBadInput, also when the checkpoint has another world size.
LoadedCheckpoint load_checkpoint(const std::string& folder, int rank, int world_size);

}  // namespace orrery
