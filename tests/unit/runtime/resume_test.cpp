// A run that is stopped and resumed is the run that went on, bit for bit.
#include "runtime/train/checkpoints.h"
#include "tests/catch.h"
#include "tests/unit/runtime/tiny_training.h"

namespace orrery {
namespace {

using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

// Six steps at once, and three, then three more by a job that started from other weights.
void resumes_exactly(const Layout& l) {
  INFO(l.name());
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training(l);
  TinyTraining straight(s);
  const StepResult expected = straight.train(6).last;

  s.training.checkpoint = {3, 2, dir.file("checkpoints")};
  TinyTraining first(s);
  const TrainResult half = first.train(3);
  CHECK(half.checkpoint == dir.file("checkpoints/step_00000003"));
  s.training.seed = 99;
  TinyTraining second(s);
  CHECK((second.state() != first.state()));
  const TrainResult r = second.train(6, true);
  CHECK(r.first_step == 4);
  CHECK(r.last.losses == expected.losses);
  CHECK(r.last.grad_norm == expected.grad_norm);
  CHECK(second.warnings.empty());
  const auto have = second.state(), want = straight.state();
  REQUIRE(have.size() == want.size());
  for (const auto& [name, values] : want) {
    INFO(name);
    CHECK((have.at(name) == values));
  }
}

TEST_CASE("resume: bit for bit on one rank", "[runtime]") { resumes_exactly({}); }

TEST_CASE("resume: bit for bit with split and whole optimizer states", "[runtime]") {
  resumes_exactly({.data = 4, .expert = 2});
  resumes_exactly({.data = 2, .more = {"/plan/zero_stage=0"}});
}

TEST_CASE("resume: bit for bit with Muon", "[runtime]") {
  resumes_exactly({.data = 4, .expert = 2, .more = {"/plan/optimizer=muon"}});
}

TEST_CASE("resume: bit for bit under pipelines", "[runtime]") {
  resumes_exactly({.pipeline = 4});
  resumes_exactly({.pipeline = 2,
                   .data = 2,
                   .expert = 2,
                   .schedule = "dualpipe",
                   .more = {"/plan/overlap_expert_parallel=true"}});
}

TEST_CASE("resume: bit for bit with FP8 casts", "[runtime]") {
  resumes_exactly({.data = 2, .expert = 2, .more = {"/plan/precision=fp8"}});
}

TEST_CASE("resume: the newest whole checkpoint counts, and what is passed over is said",
          "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({.data = 2});
  s.training.checkpoint = {1, 0, dir.file("checkpoints")};
  TinyTraining(s).train(3);
  CHECK(std::filesystem::exists(dir.file("checkpoints/step_00000001")));  // keep 0: all
  std::string damaged = testing::content_of(dir.file("checkpoints/step_00000003/rank_00001.bin"));
  damaged[1000] ^= 1;
  testing::write(dir.file("checkpoints/step_00000003/rank_00001.bin"), damaged);
  TinyTraining t(s);
  CHECK(t.train(3, true).first_step == 3);
  REQUIRE_FALSE(t.warnings.empty());
  CHECK(contains(t.warnings[0], "step_00000003: passed over"));
}

TEST_CASE("resume: metrics go on where the checkpoint was", "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({});
  s.training.checkpoint = {2, 2, dir.file("checkpoints")};
  TinyTraining first(s);
  first.options.metrics_path = dir.file("metrics.jsonl");
  first.train(2);
  const std::string two = testing::content_of(first.options.metrics_path);
  // As if a third step had been reported before the job was killed.
  testing::write(first.options.metrics_path, two + "{\"step\":3,\"loss\":1}\n{\"step\":4");
  TinyTraining second(s);
  second.options.metrics_path = first.options.metrics_path;
  second.train(3, true);
  const std::string three = testing::content_of(first.options.metrics_path);
  CHECK(three.substr(0, two.size()) == two);
  CHECK(std::count(three.begin(), three.end(), '\n') == 3);
  CHECK_FALSE(contains(three, "\"loss\":1}"));
}

Failure refusal(const StudySpec& s, bool resume) {
  TinyTraining t(s);
  const auto before = t.state();
  const Failure f = failure_of([&] { t.train(2, resume); });
  CHECK((t.state() == before));
  INFO(f.message);
  CHECK_FALSE(f.message.empty());
  return f;
}

TEST_CASE("resume: another model, layout or precision is refused by name", "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({.data = 2});
  s.training.checkpoint = {1, 2, dir.file("checkpoints")};
  TinyTraining(s).train(1);
  const auto with = [&](const Layout& l) {
    StudySpec other = tiny_moe_training(l);
    other.training.checkpoint = s.training.checkpoint;
    return refusal(other, true);
  };
  Failure f = with({.pipeline = 2});
  CHECK(f.code == ExitCode::kBadInput);
  CHECK(contains(f.message, "layout/pipeline_parallel: the checkpoint has 1, this run has 2"));
  CHECK(contains(f.message, "layout/data_parallel: the checkpoint has 2, this run has 1"));
  f = with({.data = 2, .more = {"/model/hidden_size=128"}});
  CHECK(contains(f.message, "model/hidden_size: the checkpoint has 64, this run has 128"));
  CHECK_FALSE(contains(f.message, "layout/"));
  f = with({.data = 2, .more = {"/plan/precision=fp8"}});
  CHECK(contains(f.message, "layout/precision: the checkpoint has \"bf16\", this run has \"fp8\""));
  f = with({.data = 2, .more = {"/model/routed_scaling_factor=1.25"}});
  CHECK(contains(f.message, "model/moe/routed_scaling_factor"));
}

TEST_CASE("resume: other data are allowed and said", "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({});
  s.training.checkpoint = {1, 2, dir.file("checkpoints")};
  TinyTraining(s).train(1);
  s.training.data.branching = 8;
  TinyTraining t(s);
  t.train(2, true);
  REQUIRE(t.warnings.size() == 1);
  CHECK(contains(t.warnings[0], "data/branching: the checkpoint has 4, this run has 8"));
}

TEST_CASE("resume: without a checkpoint is an error, and a new run writes beside none",
          "[runtime]") {
  const TemporaryDirectory dir;
  StudySpec s = tiny_moe_training({});
  CHECK(contains(refusal(s, true).message, "/training/checkpoint/folder"));
  s.training.checkpoint = {1, 2, dir.file("checkpoints")};
  Failure f = refusal(s, true);
  CHECK(f.code == ExitCode::kNoInput);
  CHECK(contains(f.message, "no whole checkpoint"));
  TinyTraining(s).train(1);
  f = refusal(s, false);
  CHECK(f.code == ExitCode::kCannotCreate);
  CHECK(contains(f.message, "step_00000001"));
}

// What an executor makes of states that were written one by one.
TEST_CASE("restore: every owner gets the weights of all owners' master weights", "[runtime]") {
  TinyTraining t(
      tiny_moe_training({.pipeline = 2, .data = 2, .expert = 2, .schedule = "dualpipe"}));
  const auto ranks = t.executor.local_ranks();
  // The master weights of a shard become its rank, so that gathered weights tell who owned what.
  for (RankState* r : ranks)
    for (std::size_t i = 0; i < r->layout().rank_class().shares.size(); ++i) {
      const auto owned = static_cast<std::size_t>(r->layout().rank_class().shares[i].owned());
      const std::vector<float> values(owned, static_cast<float>(r->layout().rank()));
      r->write_state(static_cast<int>(i), StateKind::kMaster, std::as_bytes(std::span(values)));
    }
  t.executor.restore();
  for (RankState* r : ranks)
    for (std::size_t i = 0; i < r->layout().rank_class().shares.size(); ++i) {
      const OptimizerShare& s = r->layout().rank_class().shares[i];
      std::vector<float> weights(static_cast<std::size_t>(s.elements));
      r->read_weights(static_cast<int>(i), weights);
      // Each of the owners once, this rank's at its own place.
      std::vector<float> owners;
      for (std::size_t e = 0; e < weights.size(); e += static_cast<std::size_t>(s.owned()))
        owners.push_back(weights[e]);
      CAPTURE(r->layout().rank(), i, s.shards);
      CHECK(owners.size() == static_cast<std::size_t>(s.shards));
      const auto mine =
          static_cast<std::size_t>(s.shards > 1 ? r->layout().owner(static_cast<int>(i)) : 0);
      CHECK(owners[mine] == static_cast<float>(r->layout().rank()));
      std::sort(owners.begin(), owners.end());
      CHECK(std::unique(owners.begin(), owners.end()) == owners.end());
    }
}

}  // namespace
}  // namespace orrery
