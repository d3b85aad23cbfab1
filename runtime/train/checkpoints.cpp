#include "runtime/train/checkpoints.h"

#include <fmt/format.h>

#include <array>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <string_view>
#include <thread>

#include "runtime/io/checkpoint.h"
#include "runtime/io/checkpoint_folders.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr std::array<std::string_view, kStateKinds> kStateNames = {"master", "first_moment",
                                                                   "second_moment"};

std::string blob_name(int share, StateKind kind) {
  return fmt::format("share{}.{}", share, kStateNames[static_cast<std::size_t>(kind)]);
}

template <class F>
void for_each_state(const RankState& rank, F&& f) {
  const int shares = static_cast<int>(rank.layout().rank_class().shares.size());
  for (int share = 0; share < shares; ++share)
    for (int kind = 0; kind < kStateKinds; ++kind) f(share, static_cast<StateKind>(kind));
}

void write_blobs(const RankState& rank, CheckpointFileWriter& writer) {
  std::vector<std::byte> bytes;
  for_each_state(rank, [&](int share, StateKind kind) {
    bytes.resize(rank.state_bytes(share, kind));
    rank.read_state(share, kind, bytes);
    writer.add(blob_name(share, kind), bytes);
  });
  std::vector<float> buffers(static_cast<std::size_t>(rank.layout().buffer_elements()));
  rank.read_buffers(buffers);
  writer.add("buffers", std::as_bytes(std::span(buffers)));
}

std::span<const std::byte> sized_blob(const CheckpointFile& file, const std::string& name,
                                      std::size_t bytes) {
  const std::span<const std::byte> blob = file.blob(name);
  if (blob.size() == bytes) return blob;
  throw InputError(
      {{file.path(), fmt::format("found {} in blob {}, expected {}", bytes_text(blob.size()),
                                 in_quotes(name), bytes_text(bytes))}});
}

void read_blobs(const CheckpointFile& file, RankState& rank) {
  for_each_state(rank, [&](int share, StateKind kind) {
    rank.write_state(share, kind,
                     sized_blob(file, blob_name(share, kind), rank.state_bytes(share, kind)));
  });
  std::vector<float> buffers(static_cast<std::size_t>(rank.layout().buffer_elements()));
  const auto to = std::as_writable_bytes(std::span(buffers));
  const auto from = sized_blob(file, "buffers", to.size());
  std::copy(from.begin(), from.end(), to.begin());
  rank.write_buffers(buffers);
}

// A barrier of the threads that save one rank each, the last of which meets the other processes.
// When that fails, it fails for all of them, now and later.
class LocalBarrier {
 public:
  LocalBarrier(std::size_t threads, std::function<void()> others)
      : threads_(threads), others_(std::move(others)) {}

  void wait() {
    std::unique_lock lock(mutex_);
    const uint64_t mine = generation_;
    if (++here_ == threads_) {
      here_ = 0;
      try {
        others_();
      } catch (...) {
        error_ = std::current_exception();
      }
      ++generation_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return generation_ != mine; });
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const std::size_t threads_;
  const std::function<void()> others_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t here_ = 0;
  uint64_t generation_ = 0;
  std::exception_ptr error_;
};

// One rank is saved by the calling thread, since it may be the one that a device belongs to.
template <class F>
void on_each(const std::vector<RankState*>& ranks, F&& f) {
  if (ranks.size() == 1) return f(*ranks[0]);
  std::vector<std::exception_ptr> errors(ranks.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < ranks.size(); ++i)
      threads.emplace_back([&, i] {
        try {
          f(*ranks[i]);
        } catch (...) {
          errors[i] = std::current_exception();
        }
      });
  }
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
}

}  // namespace

Checkpoints::Checkpoints(const TrainingTask& task, Executor& executor, const JobChannel& channel,
                         Warn warn)
    : task_(task),
      spec_(task.training.checkpoint),
      executor_(executor),
      channel_(channel),
      warn_(std::move(warn)),
      leader_(channel.leader),
      world_size_(static_cast<int>(task.config.plan.world_size())) {}

void Checkpoints::refuse_others() const {
  if (spec_.every == 0) return;
  if (leader_)
    for (const CheckpointFolder& folder : list_checkpoint_folders(spec_.folder)) {
      if (folder.kind == CheckpointFolderKind::kTemporary) continue;
      throw Error(ExitCode::kCannotCreate,
                  fmt::format("{}: there is a checkpoint already: resume its run, move it away or "
                              "choose another folder",
                              folder.path));
    }
  channel_.broadcast("");
}

// Looked for by one process, so that all load the same one.
std::string Checkpoints::newest() const {
  if (spec_.folder.empty())
    throw InputError({{task_.name, "found no /training/checkpoint/folder to resume from"}});
  if (!leader_) return channel_.broadcast("");
  const LatestCheckpoint latest = find_latest_checkpoint(spec_.folder);
  for (const std::string& w : latest.warnings) warn_(w);
  if (!latest.found)
    throw InputError({{spec_.folder,
                       "found no whole checkpoint to resume from; without --resume a "
                       "run starts at its first step"}},
                     ExitCode::kNoInput);
  return channel_.broadcast(latest.found->folder);
}

TrainingPosition Checkpoints::load(const std::string& folder, RankState& rank) const {
  const LoadedCheckpoint loaded =
      load_checkpoint(folder, static_cast<int>(rank.layout().rank()), world_size_);
  read_blobs(loaded.file, rank);
  const json::Node* next = loaded.state.find("next_sequence");
  if (next == nullptr || next->kind != json::Node::Kind::kInteger || next->integer < 0)
    throw InputError({{folder, "the state has no \"next_sequence\", or a negative one"}});
  return {loaded.step, static_cast<uint64_t>(next->integer)};
}

TrainingPosition Checkpoints::resume() {
  const std::string folder = newest();
  const CheckpointManifest manifest = read_manifest(folder);
  const std::string ours = training_state_json(task_.name, task_.config, task_.training, {});
  const StateDifferences d = compare_states(manifest.state, json::parse_json(ours, folder));
  Diagnostics findings;
  for (const std::string& difference : d.model_or_layout) findings.add(folder, difference);
  findings.throw_if_any();
  if (leader_)
    for (const std::string& difference : d.data)
      warn_(
          fmt::format("{}: {}; the training goes on from there all the same", folder, difference));
  TrainingPosition position;
  for (RankState* rank : executor_.local_ranks()) position = load(folder, *rank);
  executor_.restore();
  last_folder_ = folder;
  return position;
}

void Checkpoints::save_rank(const TrainingPosition& position, RankState& rank,
                            const std::string& token, const std::function<void()>& barrier) {
  CheckpointJob job;
  job.root = spec_.folder;
  job.rank = static_cast<int>(rank.layout().rank());
  job.world_size = world_size_;
  job.token = token;
  job.keep_last = spec_.keep > 0 ? static_cast<std::size_t>(spec_.keep)
                                 : std::numeric_limits<std::size_t>::max();
  job.barrier = barrier;
  const std::string state = training_state_json(task_.name, task_.config, task_.training, position);
  const SavedCheckpoint saved = save_checkpoint(
      job, position.step, state, [&](CheckpointFileWriter& writer) { write_blobs(rank, writer); });
  if (job.rank != 0) return;
  for (const std::string& w : saved.warnings) warn_(w);
}

void Checkpoints::save(const TrainingPosition& position) {
  const std::vector<RankState*> ranks = executor_.local_ranks();
  const std::string token = channel_.broadcast(random_suffix());
  LocalBarrier barrier(ranks.size(), [&] { executor_.barrier(); });
  on_each(ranks,
          [&](RankState& rank) { save_rank(position, rank, token, [&] { barrier.wait(); }); });
  last_folder_ = final_folder(spec_.folder, position.step);
}

}  // namespace orrery
