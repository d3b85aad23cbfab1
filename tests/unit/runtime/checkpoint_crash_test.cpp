// Whatever fails, and whenever the process dies, the last checkpoint can be loaded.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>

#include "runtime/io/checkpoint.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/checkpoint_job.h"

namespace orrery {
namespace {

using testing::Failure;
using testing::failure_of;
using testing::holds;
using testing::run_ranks;
using testing::save;
using testing::single_rank;
using testing::TemporaryDirectory;

constexpr int kKilled = 42;

// Runs `body` in a process that dies before disk step number `fatal`; whether it came to that.
template <class F>
bool killed_at(int fatal, F&& body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::atomic<int> count = 0;
    body([&](DiskStep, const std::string&) {
      if (count++ == fatal) ::_exit(kKilled);
    });
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE((WEXITSTATUS(status) == kKilled || WEXITSTATUS(status) == 0));
  return WEXITSTATUS(status) == kKilled;
}

// Saving `step` after `before` is killed at every disk step in turn: the one or the other is the
// latest, it is whole on all ranks, and the job can go on.
void check_kills(const std::vector<int64_t>& before, int64_t step, int world_size,
                 std::size_t keep_last) {
  const auto save_all = [&](const CheckpointJob& job, int64_t s) {
    if (world_size == 1) {
      save(job, s);
      return;
    }
    for (const Failure& failure :
         run_ranks(job, world_size, [&](const CheckpointJob& rank) { save(rank, s); })) {
      if (!failure.message.empty()) throw Error(failure.code, failure.message);
    }
  };
  int kills = 0;
  int completed = 0;  // kills that came after the new checkpoint had its name
  for (bool killed = true; killed; ++kills) {
    const TemporaryDirectory directory;
    CheckpointJob job = single_rank(directory.path());
    job.keep_last = keep_last;
    for (const int64_t s : before) save_all(job, s);
    killed = killed_at(kills, [&](const DiskHook& hook) {
      CheckpointJob dying = job;
      dying.hook = hook;
      save_all(dying, step);
    });

    CAPTURE(kills, killed);
    const LatestCheckpoint latest = find_latest_checkpoint(directory.path());
    REQUIRE(latest.found);
    const int64_t found = latest.found->step;
    CHECK((found == step || found == before.back()));
    CHECK((killed || found == step));
    if (found == step) ++completed;
    for (int rank = 0; rank < world_size; ++rank) {
      CHECK(holds(latest.found->folder, found, rank, world_size));
    }
    // The same job, restarted, gets as far as it would have.
    save_all(job, step + 10);
    CHECK(directory.entries() == std::min(keep_last, before.size() + (found == step ? 2 : 1)));
    CHECK(find_latest_checkpoint(directory.path()).found->step == step + 10);
    CHECK(find_latest_checkpoint(directory.path()).warnings.empty());
  }
  CHECK(kills > 10);
  CHECK(completed > 1);
  CHECK(completed < kills);
}

TEST_CASE("killed while saving, one rank", "[io]") { check_kills({10}, 20, 1, 1); }

TEST_CASE("killed while saving and removing older ones", "[io]") {
  check_kills({10, 20}, 30, 1, 2);
}

TEST_CASE("killed while saving, three ranks", "[io]") { check_kills({10}, 20, 3, 1); }

TEST_CASE("killed while replacing the only checkpoint", "[io]") {
  int kills = 0;
  for (bool killed = true; killed; ++kills) {
    const TemporaryDirectory directory;
    const CheckpointJob job = single_rank(directory.path());
    save(job, 10);
    killed = killed_at(kills, [&](const DiskHook& hook) {
      CheckpointJob dying = job;
      dying.hook = hook;
      save(dying, 10);
    });
    CAPTURE(kills);
    const LatestCheckpoint latest = find_latest_checkpoint(directory.path());
    REQUIRE(latest.found);
    CHECK(holds(latest.found->folder, 10));
    save(job, 10);
    CHECK(holds(directory.file("step_00000010"), 10));
    CHECK(directory.entries() == 1);
  }
  CHECK(kills > 15);
}

TEST_CASE("killed again while recovering from a kill", "[io]") {
  // First death between the two renames of a replacement, then at every step of the next attempt.
  const auto is_set_aside = [](const std::string& path) {
    return !std::filesystem::exists(path + "/step_00000010") &&
           std::filesystem::exists(path + "/step_00000010.old-0123abcd");
  };
  int first = 0;
  for (bool found = false; !found; ++first) {
    const TemporaryDirectory directory;
    save(single_rank(directory.path()), 10);
    REQUIRE(killed_at(first, [&](const DiskHook& hook) {
      CheckpointJob dying = single_rank(directory.path());
      dying.hook = hook;
      save(dying, 10);
    }));
    found = is_set_aside(directory.path());
  }
  int kills = 0;
  for (bool killed = true; killed; ++kills) {
    const TemporaryDirectory directory;
    CheckpointJob job = single_rank(directory.path());
    save(job, 10);
    const auto save_dying = [&](const DiskHook& hook) {
      CheckpointJob dying = job;
      dying.hook = hook;
      save(dying, 10);
    };
    killed_at(first - 1, save_dying);
    REQUIRE(is_set_aside(directory.path()));
    killed = killed_at(kills, save_dying);
    CAPTURE(kills);
    const LatestCheckpoint latest = find_latest_checkpoint(directory.path());
    REQUIRE(latest.found);
    CHECK(holds(latest.found->folder, 10));
  }
  CHECK(kills > 10);
}

TEST_CASE("a step that fails fails the checkpoint and leaves the old one alone", "[io]") {
  int failed = 0, warned = 0;
  for (int fatal = 0;; ++fatal) {
    const TemporaryDirectory directory;
    CheckpointJob job = single_rank(directory.path());
    job.keep_last = 1;
    save(job, 10);
    int count = 0;
    job.hook = [&](DiskStep, const std::string& path) {
      if (count++ == fatal) throw Error(ExitCode::kIoError, path + ": injected");
    };
    SavedCheckpoint saved;
    const Failure failure = failure_of([&] { saved = save(job, 20); });
    CAPTURE(fatal);
    const LatestCheckpoint latest = find_latest_checkpoint(directory.path());
    REQUIRE(latest.found);
    CHECK(holds(latest.found->folder, latest.found->step));
    if (failure.message.empty()) {
      CHECK(latest.found->step == 20);
      if (saved.warnings.empty()) break;
      ++warned;  // the new one is there; the old one could not be removed
      continue;
    }
    CHECK(failure.code == ExitCode::kIoError);
    ++failed;
    // Unless all that failed was the last flush, nothing is left of it.
    CHECK((latest.found->step == 20 || directory.entries() == 1));
  }
  CHECK(failed > 10);
  CHECK(warned > 3);
}

TEST_CASE("a rank that fails keeps no other rank waiting", "[io]") {
  const TemporaryDirectory directory;
  const auto save_in_all = [&](int64_t step, int failing) {
    return run_ranks(single_rank(directory.path()), 3, [&](const CheckpointJob& common) {
      CheckpointJob job = common;
      if (job.rank == failing) {
        job.hook = [](DiskStep step_kind, const std::string& path) {
          if (step_kind == DiskStep::kWrite) throw Error(ExitCode::kIoError, path + ": injected");
        };
      }
      save(job, step);
    });
  };
  for (const Failure& failure : save_in_all(10, -1)) CHECK(failure.message.empty());

  const std::vector<Failure> failures = save_in_all(20, 1);
  CHECK(failures[1].message.find("rank_00001.bin: injected") != std::string::npos);
  CHECK(failures[0].message.find("rank 1 has not written its part of the checkpoint") !=
        std::string::npos);
  CHECK(failures[0].code == ExitCode::kIoError);
  CHECK(directory.entries() == 1);
  CHECK(find_latest_checkpoint(directory.path()).found->step == 10);

  CHECK(save_in_all(20, 0)[0].message.find("injected") != std::string::npos);
  CHECK(find_latest_checkpoint(directory.path()).found->step == 10);
  for (const Failure& failure : save_in_all(20, -1)) CHECK(failure.message.empty());
  CHECK(find_latest_checkpoint(directory.path()).found->step == 20);
}

TEST_CASE("an exception while the blobs are written passes through", "[io]") {
  const TemporaryDirectory directory;
  CHECK_THROWS_AS(save_checkpoint(single_rank(directory.path()), 1, "{}",
                                  [](CheckpointFileWriter&) { throw std::bad_alloc(); }),
                  std::bad_alloc);
  CHECK(directory.entries() == 0);
}

TEST_CASE("a power failure finds everything flushed before the rename", "[io]") {
  const TemporaryDirectory directory;
  CheckpointJob job = single_rank(directory.path());
  const std::string final = directory.file("step_00000010");
  std::set<std::string> files;          // created
  std::map<std::string, bool> flushed;  // since the last write
  bool folder_flushed = false;          // since the last new name
  bool renamed = false, root_flushed = false;
  std::mutex mutex;
  job.hook = [&](DiskStep step, const std::string& path) {
    const std::lock_guard lock(mutex);
    if (step == DiskStep::kCreate) {
      files.insert(path);
      folder_flushed = false;
    }
    if (step == DiskStep::kWrite) flushed[path] = false;
    if (step == DiskStep::kSync) flushed[path] = true;
    if (step == DiskStep::kSyncFolder && path.starts_with(final + ".tmp-")) folder_flushed = true;
    if (step == DiskStep::kSyncFolder && path == directory.path()) root_flushed = renamed;
    if (step == DiskStep::kRename && path == final) {
      renamed = true;
      CHECK(folder_flushed);
      CHECK(files.size() == 4);
      for (const std::string& file : files) CHECK(flushed[file]);
    }
  };
  for (const Failure& failure :
       run_ranks(job, 3, [](const CheckpointJob& rank) { save(rank, 10); })) {
    CHECK(failure.message.empty());
  }
  CHECK(renamed);
  CHECK(root_flushed);
}

}  // namespace
}  // namespace orrery
