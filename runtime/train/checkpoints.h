// The checkpoints of a training run: what an executor holds, in the files of runtime/io.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "runtime/train/job_channel.h"
#include "runtime/train/training_state.h"

namespace orrery {

// What is trained.
struct TrainingTask {
  std::string name;  // of the experiment
  const GraphConfig& config;
  const TrainingSpec& training;
};

// The blobs of a rank are "share<i>.master", "share<i>.first_moment", "share<i>.second_moment" (its
// shards, as RankState stores them) and "buffers". All calls are collective over the processes.
class Checkpoints {
 public:
  using Warn = std::function<void(const std::string&)>;
  // All of them outlive the object. `warn` is called by the process that has rank 0.
  Checkpoints(const TrainingTask& task, Executor& executor, const JobChannel& channel, Warn warn);

  // For a run that starts at its first step: Error with kCannotCreate when the folder has
  // checkpoints, which a later resume would mistake for its own.
  void refuse_others() const;
  // Makes the executor's state that of the newest whole checkpoint. Throws InputError: there is
  // none (kNoInput), or it is of another model or layout, with every difference.
  TrainingPosition resume();
  void save(const TrainingPosition& position);

  const std::string& last_folder() const { return last_folder_; }  // "": none yet
  bool leader() const { return leader_; }

 private:
  std::string newest() const;
  TrainingPosition load(const std::string& folder, RankState& rank) const;
  void save_rank(const TrainingPosition& position, RankState& rank, const std::string& token,
                 const std::function<void()>& barrier);

  const TrainingTask& task_;
  const CheckpointSpec& spec_;
  Executor& executor_;
  const JobChannel& channel_;
  Warn warn_;
  bool leader_;
  int world_size_;
  std::string last_folder_;
};

}  // namespace orrery
