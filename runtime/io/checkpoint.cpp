#include "runtime/io/checkpoint.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <utility>

#include "runtime/io/checkpoint_folders.h"
#include "runtime/io/fail.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

using Kind = CheckpointFolderKind;

std::string in_folder(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

// What every rank finds alike, so that all of them throw and none waits at a barrier.
void check_job(const CheckpointJob& job, int64_t step) {
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const std::string where = job.root;
  if (job.root.empty()) fail("checkpoint", "the folder for checkpoints has an empty name");
  if (step < 0)
    fail(where, "found checkpoint step " + std::to_string(step) + ", expected 0 or more");
  if (job.world_size < 1 || job.rank < 0 || job.rank >= job.world_size) {
    fail(where, "found rank " + std::to_string(job.rank) + " of " + std::to_string(job.world_size));
  }
  if (job.world_size > 1 && !job.barrier) fail(where, "more than one rank need a barrier");
  if (job.keep_last < 1) fail(where, "found 0 checkpoints to keep, expected at least 1");
  if (job.token.empty() || !std::all_of(job.token.begin(), job.token.end(), is_plain)) {
    fail(where, "found checkpoint token " + in_quotes(job.token) + ", expected letters and digits");
  }
}

// Keeps the first error; the steps after it are skipped.
class FirstError {
 public:
  template <class F>
  void attempt(F&& step) {
    if (error_) return;
    try {
      step();
    } catch (...) {
      error_ = std::current_exception();
    }
  }
  bool any() const { return error_ != nullptr; }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

bool is_whole(const std::string& folder) {
  try {
    check_checkpoint(folder, CheckpointCheck::kSizes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The name goes first, so that a removal that is cut short leaves nothing that looks like a
// checkpoint.
void discard(const CheckpointJob& job, const std::string& folder, int64_t step) {
  const std::string gone = temporary_folder(job.root, step, "removed-" + random_suffix());
  rename_path(folder, gone, job.hook);
  sync_folder(job.root, job.hook);
  remove_tree(gone, job.hook);
}

CheckpointFileSummary summary_of_rank(const std::string& folder, int rank) {
  const std::string path = in_folder(folder, rank_file_name(rank));
  try {
    return read_summary(path);
  } catch (const InputError& e) {
    throw Error(ExitCode::kIoError, "rank " + std::to_string(rank) +
                                        " has not written its part of the checkpoint: " + e.what());
  }
}

// Gives the complete temporary folder its name.
void publish(const CheckpointJob& job, int64_t step, const std::string& temporary,
             const std::string& state_json) {
  std::vector<CheckpointFileSummary> files;
  files.reserve(static_cast<std::size_t>(job.world_size));
  for (int rank = 0; rank < job.world_size; ++rank) {
    files.push_back(summary_of_rank(temporary, rank));
  }
  write_manifest(temporary, step, state_json, files, job.hook);
  sync_folder(temporary, job.hook);

  const std::string final = final_folder(job.root, step);
  std::error_code ignored;
  if (std::filesystem::exists(std::filesystem::symlink_status(final, ignored))) {
    if (is_whole(final)) {
      const std::string aside = set_aside_folder(job.root, step, job.token);
      // One set aside earlier is not needed: the final one is whole.
      remove_tree(aside, job.hook);
      rename_path(final, aside, job.hook);
      sync_folder(job.root, job.hook);
    } else {
      discard(job, final, step);
    }
  }
  rename_path(temporary, final, job.hook);
  sync_folder(job.root, job.hook);
}

// Keeps the checkpoint just written and, besides it, the newest ones.
void remove_superseded(const CheckpointJob& job, int64_t written,
                       std::vector<std::string>& warnings) {
  std::size_t kept = 1;
  int64_t last_whole = -1;  // step of the final folder seen last, if it is whole
  for (const CheckpointFolder& folder : list_checkpoint_folders(job.root)) {
    if (folder.kind == Kind::kTemporary) {
      remove_tree(folder.path, job.hook);
      continue;
    }
    if (folder.kind == Kind::kFinal && folder.step == written) {
      last_whole = written;
      continue;
    }
    const bool replaced = folder.kind == Kind::kSetAside && folder.step == last_whole;
    if (!replaced && !is_whole(folder.path)) {
      warnings.push_back(folder.path + ": not a whole checkpoint; it is kept and not counted");
    } else if (replaced || kept >= job.keep_last) {
      discard(job, folder.path, folder.step);
    } else {
      ++kept;
      if (folder.kind == Kind::kFinal) last_whole = folder.step;
      if (folder.step > written) {
        warnings.push_back(folder.path + ": newer than the checkpoint just written, of step " +
                           std::to_string(written) +
                           "; a restart from the latest would take this one");
      }
    }
  }
}

}  // namespace

SavedCheckpoint save_checkpoint(const CheckpointJob& job, int64_t step,
                                const std::string& state_json,
                                const std::function<void(CheckpointFileWriter&)>& write_blobs) {
  check_job(job, step);
  const auto wait = [&] {
    if (job.barrier) job.barrier();
  };
  const bool leader = job.rank == 0;
  const std::string temporary = temporary_folder(job.root, step, job.token);
  SavedCheckpoint saved{final_folder(job.root, step), {}};
  FirstError error;

  if (leader) {
    error.attempt([&] {
      make_folders(job.root, job.hook);
      remove_tree(temporary, job.hook);  // of an earlier attempt with the same token
      make_folder(temporary, job.hook);
    });
  }
  wait();
  error.attempt([&] {
    CheckpointFileWriter writer(in_folder(temporary, rank_file_name(job.rank)), job.hook);
    write_blobs(writer);
    writer.finish();
  });
  wait();
  if (leader) {
    error.attempt([&] { publish(job, step, temporary, state_json); });
    if (error.any()) {
      std::error_code ignored;
      std::filesystem::remove_all(temporary, ignored);
    } else {
      try {
        remove_superseded(job, step, saved.warnings);
      } catch (const Error& e) {
        saved.warnings.emplace_back(e.what());
      }
    }
  }
  wait();
  error.rethrow();
  return saved;
}

CheckpointManifest check_checkpoint(const std::string& folder, CheckpointCheck check) {
  CheckpointManifest manifest = read_manifest(folder);
  for (std::size_t rank = 0; rank < manifest.files.size(); ++rank) {
    const CheckpointFileSummary& expected = manifest.files[rank];
    const std::string path = in_folder(folder, rank_file_name(static_cast<int>(rank)));
    if (check == CheckpointCheck::kChecksums) {
      const CheckpointFile whole(path, expected);
      continue;
    }
    const CheckpointFileSummary found = read_summary(path);
    if (found.bytes != expected.bytes || found.checksum != expected.checksum) {
      fail(path, "found " + bytes_text(found.bytes) + " with checksum " +
                     checksum_text(found.checksum) + ", expected " + bytes_text(expected.bytes) +
                     " with " + checksum_text(expected.checksum));
    }
  }
  return manifest;
}

LatestCheckpoint find_latest_checkpoint(const std::string& root, CheckpointCheck check) {
  LatestCheckpoint latest;
  for (const CheckpointFolder& folder : list_checkpoint_folders(root)) {
    if (folder.kind == Kind::kTemporary) {
      latest.warnings.push_back(folder.path + ": passed over: its writing was not finished");
      continue;
    }
    try {
      const CheckpointManifest manifest = check_checkpoint(folder.path, check);
      if (manifest.step != folder.step) {
        fail(folder.path, "the manifest is of step " + std::to_string(manifest.step));
      }
      latest.found = {folder.path, manifest.step, manifest.world_size};
      return latest;
    } catch (const Error& e) {
      latest.warnings.push_back(folder.path + ": passed over: " + e.what());
    }
  }
  return latest;
}

LoadedCheckpoint load_checkpoint(const std::string& folder, int rank, int world_size) {
  CheckpointManifest manifest = read_manifest(folder);
  if (manifest.world_size != world_size) {
    fail(folder, "this checkpoint was saved by a job of " + std::to_string(manifest.world_size) +
                     " ranks; this job has " + std::to_string(world_size) +
                     ", and must have as many with the same plan");
  }
  if (rank < 0 || rank >= world_size) {
    fail(folder, "found rank " + std::to_string(rank) + " of " + std::to_string(world_size));
  }
  return {manifest.step, std::move(manifest.state),
          CheckpointFile(in_folder(folder, rank_file_name(rank)),
                         manifest.files[static_cast<std::size_t>(rank)])};
}

}  // namespace orrery
