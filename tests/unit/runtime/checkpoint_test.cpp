#include "runtime/io/checkpoint.h"

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/runtime/checkpoint_job.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::Failure;
using testing::failure_of;
using testing::holds;
using testing::run_ranks;
using testing::save;
using testing::single_rank;
using testing::TemporaryDirectory;

namespace fs = std::filesystem;

void replace(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = content_of(path);
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  testing::write(path, text.replace(at, from.size(), to));
}

bool says(const Failure& failure, const std::string& text) {
  INFO(failure.message);
  const bool found = failure.message.find(text) != std::string::npos;
  CHECK(found);
  return found;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST_CASE("a checkpoint comes back as it was saved", "[io]") {
  const TemporaryDirectory directory;
  const std::string root = directory.file("run/checkpoints");
  const SavedCheckpoint saved = save(single_rank(root), 1234);
  CHECK(saved.folder == root + "/step_00001234");
  CHECK(saved.warnings.empty());
  CHECK(names_in(root) == std::vector<std::string>{"step_00001234"});
  CHECK(names_in(saved.folder) == std::vector<std::string>{"manifest.json", "rank_00000.bin"});
  CHECK(holds(saved.folder, 1234));

  const LoadedCheckpoint loaded = load_checkpoint(saved.folder, 0, 1);
  CHECK(loaded.file.names() == std::vector<std::string>{"empty", "weights"});
  CHECK(loaded.file.has("weights"));
  CHECK_FALSE(loaded.file.has("weight"));
  CHECK(reinterpret_cast<std::uintptr_t>(loaded.file.blob("weights").data()) % kBlobAlignment == 0);
  says(failure_of([&] { (void)loaded.file.blob("weight"); }),
       R"(blob "weight" is missing; the nearest name is "weights")");
}

TEST_CASE("each rank has its own file", "[io]") {
  const TemporaryDirectory directory;
  const auto failures =
      run_ranks(single_rank(directory.path()), 3, [](const CheckpointJob& job) { save(job, 7); });
  for (const Failure& failure : failures) CHECK(failure.message.empty());
  const std::string folder = directory.file("step_00000007");
  CHECK(names_in(folder) == std::vector<std::string>{"manifest.json", "rank_00000.bin",
                                                     "rank_00001.bin", "rank_00002.bin"});
  for (int rank = 0; rank < 3; ++rank) CHECK(holds(folder, 7, rank, 3));
  CHECK(check_checkpoint(folder, CheckpointCheck::kChecksums).world_size == 3);

  const Failure fewer = failure_of([&] { load_checkpoint(folder, 0, 2); });
  CHECK(fewer.code == ExitCode::kBadInput);
  says(fewer, "was saved by a job of 3 ranks; this job has 2");
  CHECK(failure_of([&] { load_checkpoint(folder, 3, 3); }).code == ExitCode::kBadInput);
}

TEST_CASE("the latest whole checkpoint is found, and what is passed over is told", "[io]") {
  const TemporaryDirectory directory;
  CHECK_FALSE(find_latest_checkpoint(directory.file("no")).found);
  CHECK_FALSE(find_latest_checkpoint(directory.path()).found);
  CheckpointJob job = single_rank(directory.path());
  job.keep_last = 10;
  for (const int64_t step : {5, 10, 20, 100'000'000}) save(job, step);
  const auto latest = [&](CheckpointCheck check = CheckpointCheck::kChecksums) {
    return find_latest_checkpoint(directory.path(), check);
  };
  CHECK(latest().found->step == 100'000'000);
  CHECK(latest().warnings.empty());

  replace(directory.file("step_100000000/rank_00000.bin"), "weights of", "Weights of");
  CHECK(latest(CheckpointCheck::kSizes).found->step == 100'000'000);
  CHECK(latest().found->step == 20);
  REQUIRE(latest().warnings.size() == 1);
  CHECK(latest().warnings[0].find("step_100000000: passed over: ") != std::string::npos);
  CHECK(latest().warnings[0].find("damaged") != std::string::npos);

  fs::resize_file(directory.file("step_00000020/rank_00000.bin"), 100);
  fs::rename(directory.file("step_00000010"), directory.file("step_00000010.tmp-x"));
  fs::create_directory(directory.file("step_7"));  // not our way to write a step
  fs::create_directory(directory.file("step_00000030x"));
  const LatestCheckpoint found = latest(CheckpointCheck::kSizes);
  CHECK(found.found->step == 100'000'000);
  fs::remove(directory.file("step_100000000/manifest.json"));
  const LatestCheckpoint oldest = latest(CheckpointCheck::kSizes);
  CHECK(oldest.found->step == 5);
  CHECK(oldest.found->folder == directory.file("step_00000005"));
  CHECK(oldest.found->world_size == 1);
  CHECK(oldest.warnings.size() == 3);

  fs::rename(directory.file("step_00000005"), directory.file("step_00000006"));
  CHECK_FALSE(latest().found);  // its manifest is of another step
  testing::write(directory.file("file"), "");
  CHECK(failure_of([&] { find_latest_checkpoint(directory.file("file")); }).code ==
        ExitCode::kNoInput);
}

TEST_CASE("a checkpoint that is not whole is refused, saying why", "[io]") {
  const TemporaryDirectory directory;
  const std::string folder = save(single_rank(directory.path()), 3).folder;
  const std::string file = folder + "/rank_00000.bin";
  const std::string manifest = folder + "/manifest.json";
  const std::string file_content = content_of(file);
  const std::string manifest_content = content_of(manifest);
  const auto failure = [&] { return failure_of([&] { load_checkpoint(folder, 0, 1); }); };
  const auto bad_input = [&](const std::string& text) {
    const Failure found = failure();
    CHECK(found.code == ExitCode::kBadInput);
    return says(found, text);
  };

  SECTION("a truncated file") {
    testing::write(file, file_content.substr(0, file_content.size() - 1));
    bad_input("rank_00000.bin: the checkpoint file is truncated: found");
    testing::write(file, "");
    bad_input("truncated");
    testing::write(file, file_content + "x");
    bad_input("too long");
  }
  SECTION("any byte that changes") {
    for (std::size_t i = 0; i < file_content.size(); ++i) {
      std::string damaged = file_content;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
      testing::write(file, damaged);
      CAPTURE(i);
      CHECK(failure().code == ExitCode::kBadInput);
    }
    for (std::size_t i = 0; i < manifest_content.size(); ++i) {
      std::string damaged = manifest_content;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x01);
      testing::write(file, file_content);
      testing::write(manifest, damaged);
      CAPTURE(i);
      // Nothing is read from the bracket and the line end after the checksum.
      const bool counts = i + 3 < manifest_content.size();
      CHECK((!counts || failure().code == ExitCode::kBadInput));
    }
  }
  SECTION("a wrong checksum") {
    replace(file, "weights of", "Weights of");
    bad_input("rank_00000.bin: the checkpoint file is damaged: its XXH3 checksum is ");
  }
  SECTION("a missing file") {
    fs::remove(file);
    CHECK(failure().code == ExitCode::kNoInput);
    says(failure(), "rank_00000.bin: cannot read the file: No such file");
  }
  SECTION("a file of another checkpoint") {
    fs::copy_file(save(single_rank(directory.path()), 4).folder + "/rank_00000.bin", file,
                  fs::copy_options::overwrite_existing);
    bad_input("not the one that was saved with this manifest");
  }
  SECTION("a missing manifest or folder") {
    fs::remove(manifest);
    CHECK(failure().code == ExitCode::kNoInput);
    says(failure(), "this folder has no manifest.json");
    fs::remove_all(folder);
    CHECK(failure().code == ExitCode::kNoInput);
    says(failure(), "there is no such checkpoint folder");
  }
  SECTION("a changed or cut manifest") {
    replace(manifest, "\"next_sequence\": 30", "\"next_sequence\": 31");
    bad_input("manifest.json: the manifest is damaged or was changed");
    testing::write(manifest, manifest_content.substr(0, manifest_content.size() / 2));
    bad_input("does not end with its checksum");
  }
  SECTION("another schema version") {
    const std::size_t end = manifest_content.find(",\n  \"manifest_xxh3\"");
    std::string text = manifest_content.substr(0, end);
    text.replace(text.find("\"schema_version\": 1"), 19, "\"schema_version\": 2");
    testing::write(manifest, text + ",\n  \"manifest_xxh3\": \"" +
                                 checksum_text(checksum_of(text)) + "\"\n}\n");
    bad_input("found a checkpoint of schema_version 2, expected 1");
  }
}

TEST_CASE("the last checkpoints are kept", "[io]") {
  const TemporaryDirectory directory;
  CheckpointJob job = single_rank(directory.path());
  for (const int64_t step : {10, 20, 30, 40}) CHECK(save(job, step).warnings.empty());
  CHECK(names_in(directory.path()) == std::vector<std::string>{"step_00000030", "step_00000040"});

  // One that is not whole is not counted, so that the last whole one stays.
  fs::remove(directory.file("step_00000040/rank_00000.bin"));
  const SavedCheckpoint fifty = save(job, 50);
  CHECK(names_in(directory.path()) ==
        std::vector<std::string>{"step_00000030", "step_00000040", "step_00000050"});
  REQUIRE(fifty.warnings.size() == 1);
  CHECK(fifty.warnings[0].find("step_00000040: not a whole checkpoint") != std::string::npos);

  fs::create_directory(directory.file("step_00000060.tmp-killed"));
  job.keep_last = 1;
  save(job, 60);
  CHECK(names_in(directory.path()) == std::vector<std::string>{"step_00000040", "step_00000060"});
}

TEST_CASE("a checkpoint written after going back is kept, with a warning", "[io]") {
  const TemporaryDirectory directory;
  CheckpointJob job = single_rank(directory.path());
  job.keep_last = 2;
  save(job, 200);
  save(job, 300);
  const SavedCheckpoint saved = save(job, 150);
  CHECK(holds(saved.folder, 150));
  CHECK(names_in(directory.path()) == std::vector<std::string>{"step_00000150", "step_00000300"});
  REQUIRE(saved.warnings.size() == 1);
  CHECK(saved.warnings[0].find("step_00000300: newer than") != std::string::npos);
}

TEST_CASE("a checkpoint of the same step is replaced, whole or not", "[io]") {
  const TemporaryDirectory directory;
  const CheckpointJob job = single_rank(directory.path());
  save(job, 5);
  save(job, 5);
  CHECK(holds(directory.file("step_00000005"), 5));
  CHECK(directory.entries() == 1);
  fs::resize_file(directory.file("step_00000005/rank_00000.bin"), 10);
  save(job, 5);
  CHECK(holds(directory.file("step_00000005"), 5));
  CHECK(directory.entries() == 1);
}

TEST_CASE("a job that cannot be is refused before anything is written", "[io]") {
  const TemporaryDirectory directory;
  const auto refuses = [&](auto&& change, int64_t step = 1) {
    CheckpointJob job = single_rank(directory.path());
    change(job);
    CHECK(failure_of([&] { save(job, step); }).code == ExitCode::kBadInput);
    CHECK(directory.entries() == 0);
  };
  refuses([](CheckpointJob& job) { job.root = ""; });
  refuses([](CheckpointJob& job) { job.rank = 1; });
  refuses([](CheckpointJob& job) { job.world_size = 2; });  // and no barrier
  refuses([](CheckpointJob& job) { job.keep_last = 0; });
  refuses([](CheckpointJob& job) { job.token = ""; });
  refuses([](CheckpointJob& job) { job.token = "../x"; });
  refuses([](CheckpointJob&) {}, -1);
}

TEST_CASE("what could not be read back is not written", "[io]") {
  const TemporaryDirectory directory;
  const CheckpointJob job = single_rank(directory.path());
  const auto refuses = [&](const std::string& state, auto&& blobs) {
    CAPTURE(state);
    CHECK(failure_of([&] { save_checkpoint(job, 1, state, blobs); }).code == ExitCode::kBadInput);
    CHECK(directory.entries() == 0);
  };
  const auto none = [](CheckpointFileWriter&) {};
  for (const char* state :
       {"", "1", "[]", "{", R"({}, "x": 1)", R"({}, "step": 1)", R"({"a":1,"a":1})"}) {
    refuses(state, none);
  }
  refuses("{}", [](CheckpointFileWriter& w) { w.add("", {}); });
  refuses("{}", [](CheckpointFileWriter& w) { w.add("\xff", {}); });
  refuses("{}", [](CheckpointFileWriter& w) {
    w.add("a", {});
    w.add("a", {});
  });
  const std::string odd = "a \"b\"\n\u00e9" + std::string(500, 'x');
  save_checkpoint(job, 1, "{}", [&](CheckpointFileWriter& w) { w.add(odd, {}); });
  CHECK(load_checkpoint(directory.file("step_00000001"), 0, 1).file.has(odd));
}

}  // namespace
}  // namespace orrery
