#include "sim/spec/training.h"

#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

TrainingSpec read_training(const std::string& text, const std::string& file = "training.json") {
  const json::Node n = json::parse_json(text, file);
  Diagnostics d;
  TrainingSpec t = read_training(n, "/training", d);
  d.throw_if_any();
  return t;
}

std::string training_refusal(const std::string& text) {
  return error_of([&] { read_training(text); });
}

TrainingSpec with(LrSchedule schedule, int64_t warmup, int64_t decay) {
  TrainingSpec t;
  t.steps = 100;
  t.optimizer.lr = 1e-3;
  t.optimizer.min_lr = 1e-4;
  t.optimizer.schedule = schedule;
  t.optimizer.warmup_steps = warmup;
  t.optimizer.decay_steps = decay;
  return t;
}

}  // namespace

TEST_CASE("The warm-up rises in equal steps and reaches lr at its last one", "[spec]") {
  for (const LrSchedule s : {LrSchedule::kConstant, LrSchedule::kCosine, LrSchedule::kWsd}) {
    const TrainingSpec t = with(s, 10, 20);
    CHECK(t.lr_at(1) == Approx(1e-4));
    CHECK(t.lr_at(5) == Approx(5e-4));
    CHECK(t.lr_at(10) == Approx(1e-3));
  }
}

TEST_CASE("A constant schedule keeps lr to the end", "[spec]") {
  const TrainingSpec t = with(LrSchedule::kConstant, 0, 20);
  CHECK(t.lr_at(1) == 1e-3);
  CHECK(t.lr_at(100) == 1e-3);
}

TEST_CASE("A cosine falls from the warm-up to min_lr and stays there", "[spec]") {
  const TrainingSpec t = with(LrSchedule::kCosine, 10, 60);
  // A third of the way the cosine is 1/2, so 3/4 of the range is left; at two thirds 1/4.
  CHECK(t.lr_at(30) == Approx(1e-4 + 9e-4 * 0.75));
  CHECK(t.lr_at(40) == Approx(5.5e-4));
  CHECK(t.lr_at(50) == Approx(1e-4 + 9e-4 * 0.25));
  CHECK(t.lr_at(70) == Approx(1e-4));
  CHECK(t.lr_at(100) == Approx(1e-4));
}

TEST_CASE("WSD is flat until its last decay_steps and then falls in a line", "[spec]") {
  const TrainingSpec t = with(LrSchedule::kWsd, 10, 20);
  CHECK(t.lr_at(11) == Approx(1e-3));
  CHECK(t.lr_at(80) == Approx(1e-3));
  CHECK(t.lr_at(85) == Approx(1e-3 - 9e-4 * 0.25));
  CHECK(t.lr_at(90) == Approx(5.5e-4));
  CHECK(t.lr_at(100) == Approx(1e-4));
  CHECK(t.lr_at(200) == Approx(1e-4));
}

TEST_CASE("An experiment without settings trains with the defaults of an empty object", "[spec]") {
  const TrainingSpec none = deepseek().training;
  const TrainingSpec empty = read_training("{}");
  for (const TrainingSpec& t : {none, empty}) {
    CHECK(t.steps == 1000);
    CHECK(t.data.kind == DataKind::kSynthetic);
    CHECK(t.data.seed == t.seed);
    CHECK(t.optimizer.schedule == LrSchedule::kCosine);
    CHECK(t.optimizer.decay_steps == 1000);
    CHECK(t.lr_at(1000) == Approx(3e-5));
    CHECK(t.checkpoint.every == 0);
    CHECK(t.router_bias_update_rate == 0.001);
    CHECK(t.mtp_loss_weight == 0.3);
  }
}

TEST_CASE("Defaults follow what is given", "[spec]") {
  const TrainingSpec cosine =
      read_training(R"({"steps": 500, "seed": 7, "optimizer": {"lr": 0.01, "warmup_steps": 100}})");
  CHECK(cosine.data.seed == 7);
  CHECK(cosine.optimizer.min_lr == Approx(0.001));
  CHECK(cosine.optimizer.decay_steps == 400);
  CHECK(cosine.lr_at(500) == Approx(0.001));
  CHECK(read_training(R"({"steps": 50})").optimizer.decay_steps == 50);
  const TrainingSpec wsd =
      read_training(R"({"steps": 500, "optimizer": {"schedule": "wsd", "warmup_steps": 100}})");
  CHECK(wsd.optimizer.decay_steps == 80);
}

TEST_CASE("All keys of a training file are read", "[spec]") {
  const TrainingSpec t = read_training(R"({"steps": 20, "seed": 3, "data": {"kind": "synthetic",
      "branching": 8, "seed": 5}, "optimizer": {"lr": 0.5, "min_lr": 0.25, "warmup_steps": 2,
      "schedule": "constant", "decay_steps": 4, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6,
      "momentum": 0.9, "weight_decay": 0, "max_grad_norm": 0}, "router_bias_update_rate": 0.5,
      "mtp_loss_weight": 0.1, "checkpoint": {"every": 5, "keep": 1, "folder": "c"},
      "log_every": 2})");
  CHECK(t.steps == 20);
  CHECK(t.seed == 3);
  CHECK(t.data.branching == 8);
  CHECK(t.data.seed == 5);
  CHECK(t.optimizer.lr == 0.5);
  CHECK(t.optimizer.min_lr == 0.25);
  CHECK(t.optimizer.warmup_steps == 2);
  CHECK(t.optimizer.schedule == LrSchedule::kConstant);
  CHECK(t.optimizer.decay_steps == 4);
  CHECK(t.optimizer.beta1 == 0.8);
  CHECK(t.optimizer.beta2 == 0.99);
  CHECK(t.optimizer.eps == 1e-6);
  CHECK(t.optimizer.momentum == 0.9);
  CHECK(t.optimizer.weight_decay == 0);
  CHECK(t.optimizer.max_grad_norm == 0);
  CHECK(t.router_bias_update_rate == 0.5);
  CHECK(t.mtp_loss_weight == 0.1);
  CHECK(t.checkpoint.every == 5);
  CHECK(t.checkpoint.keep == 1);
  CHECK(t.checkpoint.folder == "c");
  CHECK(t.log_every == 2);
}

TEST_CASE("Paths are relative to the file that has them", "[spec]") {
  const std::string text =
      R"({"data": {"kind": "tokens", "path": "../corpus.bin"}, "checkpoint": {"folder": "out"}})";
  const TrainingSpec t = read_training(text, "experiments/mine/training.json");
  CHECK(t.data.path == "experiments/corpus.bin");
  CHECK(t.checkpoint.folder == "experiments/mine/out");
  CHECK(read_training(R"({"data": {"kind": "tokens", "path": "/data/c.bin"}})", "a/b.json")
            .data.path == "/data/c.bin");
}

TEST_CASE("An experiment names its training file, and the command line changes it", "[spec]") {
  const std::string root = kSourceDir;
  const std::string tiny = root + "/experiments/tiny_moe";
  const TrainingSpec file = load_study(tiny, {}, root).training;
  CHECK(file.checkpoint.folder == tiny + "/checkpoints");
  const TrainingSpec set =
      load_study(tiny, {"/training/steps=7", "/training/checkpoint/folder=here"}, root).training;
  CHECK(set.steps == 7);
  CHECK(set.checkpoint.folder == "here");
}

TEST_CASE("A setting that makes no sense is named with its place", "[spec]") {
  CHECK(contains(training_refusal(R"({"stepz": 3})"), "did you mean \"steps\"?"));
  CHECK(
      contains(training_refusal(R"({"optimizer": {"learning_rate": 3}})"), "/training/optimizer"));
  CHECK(contains(training_refusal(R"({"steps": 0})"), "/training/steps"));
  CHECK(contains(training_refusal(R"({"optimizer": {"beta2": 1}})"), "/training/optimizer/beta2"));
  CHECK(contains(training_refusal(R"({"optimizer": {"momentum": 1}})"),
                 "/training/optimizer/momentum"));
  CHECK(contains(training_refusal(R"({"optimizer": {"lr": 1e-4, "min_lr": 2e-4}})"),
                 "min_lr 0.0002 is above lr 0.0001"));
  CHECK(
      contains(training_refusal(R"({"steps": 10, "optimizer": {"schedule": "wsd", "warmup_steps": 6,
                             "decay_steps": 5}})"),
               "warmup_steps 6 + decay_steps 5"));
  CHECK(contains(training_refusal(R"({"optimizer": {"schedule": "cosin"}})"),
                 "did you mean \"cosine\"?"));
  CHECK(contains(training_refusal(R"({"data": {}})"), "missing key \"kind\""));
  CHECK(contains(training_refusal(R"({"data": {"kind": "tokens"}})"), "missing key \"path\""));
  CHECK(contains(training_refusal(R"({"data": {"kind": "tokens", "path": ""}})"),
                 "found no file name"));
  CHECK(contains(training_refusal(R"({"data": {"kind": "synthetic", "path": "c.bin"}})"),
                 "\"path\""));
  CHECK(contains(training_refusal(R"({"checkpoint": {"every": 10}})"), "needs a folder"));
  CHECK(contains(training_refusal("3"), "expected an object"));
}
