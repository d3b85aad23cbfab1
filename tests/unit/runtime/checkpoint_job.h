// Saving and loading small checkpoints whose content follows from step and rank.
#pragma once

#include <barrier>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "runtime/io/checkpoint.h"
#include "tests/unit/base/helpers.h"

namespace orrery::testing {

inline std::string blob_text(int64_t step, int rank) {
  return "weights of step " + std::to_string(step) + " on rank " + std::to_string(rank) +
         std::string(static_cast<std::size_t>(100 + rank), static_cast<char>('a' + step % 26));
}

inline CheckpointJob single_rank(const std::string& root) {
  CheckpointJob job;
  job.root = root;
  job.token = "0123abcd";
  return job;
}

inline SavedCheckpoint save(const CheckpointJob& job, int64_t step) {
  return save_checkpoint(job, step, R"({"next_sequence": )" + std::to_string(step * 10) + "}",
                         [&](CheckpointFileWriter& writer) {
                           const std::string text = blob_text(step, job.rank);
                           const auto bytes = std::as_bytes(std::span(text));
                           writer.add("empty", {});
                           writer.begin("weights");
                           writer.append(bytes.first(50));
                           writer.append(bytes.subspan(50));
                         });
}

// Whether the checkpoint is there with all that save() put into it.
inline bool holds(const std::string& folder, int64_t step, int rank = 0, int world_size = 1) {
  const LoadedCheckpoint loaded = load_checkpoint(folder, rank, world_size);
  const json::Node* next = loaded.state.find("next_sequence");
  const std::span<const std::byte> bytes = loaded.file.blob("weights");
  return loaded.step == step && next != nullptr && next->integer == step * 10 &&
         loaded.file.blob("empty").empty() &&
         std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) ==
             blob_text(step, rank);
}

// Runs `body(job)` as each rank of a job, in threads; returns what each rank threw.
template <class F>
std::vector<Failure> run_ranks(const CheckpointJob& common, int world_size, F&& body) {
  std::barrier barrier(world_size);
  std::vector<Failure> failures(static_cast<std::size_t>(world_size));
  std::vector<std::thread> threads;
  threads.reserve(failures.size());
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      CheckpointJob job = common;
      job.rank = rank;
      job.world_size = world_size;
      job.barrier = [&barrier] { barrier.arrive_and_wait(); };
      failures[static_cast<std::size_t>(rank)] = failure_of([&] { body(job); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

}  // namespace orrery::testing
