// The training loop: that it learns, what it reports, and how it ends.
#include "runtime/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <limits>
#include <numeric>

#include "runtime/io/token_file.h"
#include "runtime/train/stop_signal.h"
#include "tests/catch.h"
#include "tests/unit/runtime/tiny_training.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

std::vector<json::Node> metrics_of(const std::string& path) {
  std::vector<json::Node> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse_json(line, path));
  return lines;
}

double number(const json::Node& line, const std::string& key) {
  const json::Node* n = line.find(key);
  INFO(key);
  REQUIRE(n != nullptr);
  return n->number;
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

TEST_CASE("training: the loss falls to the entropy of the data and not below", "[runtime]") {
  const TemporaryDirectory dir;
  TinyTraining t(tiny_llama({"/training/optimizer/lr=0.02", "/training/steps=300"}));
  t.options.metrics_path = dir.file("metrics.jsonl");
  const TrainResult r = t.train(300);
  CHECK(r.end == TrainEnd::kFinished);
  CHECK(r.last_step == 300);
  std::vector<double> first, last;
  for (const json::Node& line : metrics_of(t.options.metrics_path)) {
    if (number(line, "step") <= 3) first.push_back(number(line, "loss"));
    if (number(line, "step") > 260) last.push_back(number(line, "loss"));
  }
  const double entropy = *TrainingData(t.study.training, t.config).entropy_nats();
  CHECK(entropy == Approx(std::log(4.0)));
  CHECK(mean(first) > 2.3 * entropy);
  CHECK(mean(last) < 1.12 * entropy);
  CHECK(mean(last) > 0.95 * entropy);
}

TEST_CASE("training: every step has a line of metrics, every log_every-th a row", "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({});
  s.training.log_every = 2;
  TinyTraining t(s);
  t.options.metrics_path = dir.file("metrics.jsonl");
  t.options.peak_flops = 1e12;
  t.train(5);

  CHECK(t.rows.size() == 5);  // the head, then 1, 2, 4 and the last
  CHECK(contains(t.rows[0], "mtp loss"));
  CHECK(contains(t.rows[0], "MFU"));
  const std::vector<json::Node> lines = metrics_of(t.options.metrics_path);
  REQUIRE(lines.size() == 5);
  const int64_t tokens = t.study.plan.global_batch * t.study.plan.sequence_length;
  const double flops = model_flops_per_token(t.study.model, t.study.plan.sequence_length).causal;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const json::Node& line = lines[i];
    const auto step = static_cast<int64_t>(i) + 1;
    CHECK(number(line, "step") == static_cast<double>(step));
    CHECK(number(line, "lr") == t.study.training.lr_at(step));
    CHECK(number(line, "tokens") == static_cast<double>(step * tokens));
    CHECK(number(line, "loss") == Approx(std::log(96.0)).margin(1.5));
    CHECK(number(line, "mtp_loss") == Approx(std::log(96.0)).margin(1.5));
    CHECK(number(line, "grad_norm") > 0);
    const double rate = number(line, "tokens_per_s");
    CHECK(rate * number(line, "step_time_s") == Approx(static_cast<double>(tokens)));
    CHECK(number(line, "mfu") == Approx(rate * flops / 1e12));
    CHECK(number(line, "memory_GiB") > 0);
    CHECK(number(line, "reserved_GiB") > 0);
  }
}

void ends_when_not_finite(StudySpec s) {
  const TemporaryDirectory dir;
  s.training.checkpoint = {1, 2, dir.file("checkpoints")};
  s.training.optimizer.lr = s.training.optimizer.min_lr = 1e36;
  s.training.optimizer.max_grad_norm = 0;
  TinyTraining t(s);
  t.options.metrics_path = dir.file("metrics.jsonl");
  const Failure f = failure_of([&] { t.train(20); });
  CHECK(f.code == ExitCode::kFailure);
  const std::vector<json::Node> lines = metrics_of(t.options.metrics_path);
  const auto bad = static_cast<int64_t>(lines.size());
  INFO(f.message);
  CHECK(bad < 20);
  CHECK(contains(f.message, fmt::format("step {}: the ", bad)));
  CHECK(contains(f.message, fmt::format("step_{:08}", bad - 1)));
  CHECK(lines.back().find("grad_norm")->kind == json::Node::Kind::kNull);
  CHECK_FALSE(std::filesystem::exists(dir.file(fmt::format("checkpoints/step_{:08}", bad))));
  CHECK(std::filesystem::exists(dir.file(fmt::format("checkpoints/step_{:08}", bad - 1))));
}

TEST_CASE("training: a loss that is not finite ends it before anything is saved", "[runtime]") {
  ends_when_not_finite(tiny_llama());
  ends_when_not_finite(tiny_moe_training({.data = 2, .expert = 2}));
}

TEST_CASE("training: an interrupted run saves a checkpoint and goes on from it", "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({});
  TinyTraining straight(s);
  straight.train(4);
  s.training.checkpoint = {100, 2, dir.file("checkpoints")};
  {
    TinyTraining t(s);
    int asked = 0;
    t.options.interrupted = [&] { return ++asked == 2; };
    const TrainResult r = t.train(4);
    CHECK(r.end == TrainEnd::kInterrupted);
    CHECK(r.last_step == 2);
    CHECK(r.checkpoint == dir.file("checkpoints/step_00000002"));
  }
  TinyTraining t(s);
  CHECK(t.train(4, true).end == TrainEnd::kFinished);
  REQUIRE(t.notes.size() == 1);
  CHECK(contains(t.notes[0], "resuming after step 2"));
  CHECK((t.state() == straight.state()));
  // All is done: nothing is run, nothing is saved.
  const TrainResult again = t.train(4, true);
  CHECK(again.last_step < again.first_step);
}

TEST_CASE("training: the time limit ends it after the step that is running", "[runtime]") {
  TinyTraining t(tiny_llama());
  t.options.stop_at = std::chrono::steady_clock::now();
  const TrainResult r = t.train(10);
  CHECK(r.end == TrainEnd::kTimeout);
  CHECK(r.last_step == 1);
  CHECK(r.checkpoint.empty());
}

TEST_CASE("training: another process that is asked to stop stops this one", "[runtime]") {
  TinyTraining t(tiny_llama());
  t.options.last_step = 10;
  JobChannel channel;
  channel.largest = [](int) { return static_cast<int>(TrainEnd::kInterrupted); };
  const TrainingData data(t.study.training, t.config);
  const TrainResult r =
      train({t.study.name, t.config, t.study.training}, t.executor, data, channel, t.options);
  CHECK(r.end == TrainEnd::kInterrupted);
  CHECK(r.last_step == 1);
}

TEST_CASE("training: SIGINT and SIGTERM set a flag while somebody looks at it", "[runtime]") {
  struct sigaction before {};
  ::sigaction(SIGINT, nullptr, &before);
  for (const int number : {SIGINT, SIGTERM}) {
    const StopSignals signals;
    CHECK_FALSE(signals.requested());
    std::raise(number);
    CHECK(signals.requested());
  }
  struct sigaction after {};
  ::sigaction(SIGINT, nullptr, &after);
  CHECK(after.sa_handler == before.sa_handler);
}

TEST_CASE("training: a token file is read window by window", "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_llama({"/training/optimizer/lr=0.02"});
  s.training.data.kind = DataKind::kTokens;
  s.training.data.path = dir.file("corpus.tokens");
  {
    TokenFileWriter writer(s.training.data.path, 2, 32);
    std::vector<int32_t> counting(2000);
    for (std::size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<int32_t>(i % 32);
    writer.append(counting);
    writer.finish();
  }
  TinyTraining t(s);
  const double before = t.train(1).last.losses[0];
  CHECK(t.train(40).last.losses[0] < before / 4);  // counting is easy

  s.model.vocab = 16;
  const GraphConfig small{s.model, s.plan, s.stack, 1};
  const Failure f = failure_of([&] { TrainingData(s.training, small); });
  CHECK(f.code == ExitCode::kBadInput);
  CHECK(contains(f.message, "a vocabulary of 32 tokens, but the model has embeddings for 16"));
}

TEST_CASE("training: a rank's gradients can be read only when they are kept", "[runtime]") {
  TinyTraining t(tiny_llama());
  t.train(1);
  RankState& rank = *t.executor.local_ranks()[0];
  std::vector<float> gradients(
      static_cast<std::size_t>(rank.layout().rank_class().shares[0].owned()));
  rank.read_gradients(0, gradients);
  CHECK(std::any_of(gradients.begin(), gradients.end(), [](float g) { return g != 0; }));
  CpuExecutor other(t.plan, t.config, t.constants, {});
  CHECK(failure_of([&] { other.local_ranks()[0]->read_gradients(0, gradients); }).code ==
        ExitCode::kInternal);
}

}  // namespace
}  // namespace orrery
