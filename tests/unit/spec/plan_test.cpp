#include "sim/spec/plan.h"

#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

PlanSpec read_plan_text(const std::string& text) {
  const json::Node n = json::parse_json(text, "plan.json");
  Diagnostics d;
  PlanSpec p = read_plan(json::Reader(n, "/plan", d));
  d.throw_if_any();
  return p;
}

const std::string kPlan = R"({"name": "p", "pipeline_parallel": 2, "data_parallel": 4,
  "global_batch": 32, "sequence_length": 1024, "schedule": "1f1b", "layers_per_stage": [1, 1],
  "recompute": {}})";

// The findings of check_plan after one change to DeepSeek-V3's plan.
std::vector<std::string> broken(void (*change)(PlanSpec&)) {
  const StudySpec s = deepseek();
  PlanSpec p = s.plan;
  change(p);
  return check_plan(p, s.model, s.cluster);
}

}  // namespace

TEST_CASE("DeepSeek-V3's plan breaks no rule", "[spec]") {
  CHECK(broken([](PlanSpec&) {}).empty());
  const PlanSpec p = deepseek().plan;
  CHECK(p.micro_batches() == 120);
  CHECK(p.world_size() == 2048);
}

TEST_CASE("A plan's optional keys have neutral defaults", "[spec]") {
  const PlanSpec p = read_plan_text(kPlan);
  CHECK(p.expert_parallel == 1);
  CHECK(p.micro_batch == 1);
  CHECK(p.dp.zero_stage == 1);
  CHECK(p.max_nodes_per_token == 0);
  CHECK_FALSE(p.recompute.norms);
  CHECK_FALSE(p.overlap_expert_parallel);
  CHECK(p.micro_batches() == 8);
}

TEST_CASE("An unknown key of a plan is refused with the nearest known one", "[spec]") {
  std::string text = kPlan;
  text.replace(text.find('{') + 1, 0, R"("micro_bach": 2, )");
  const std::string e = error_of([&] { read_plan_text(text); });
  CHECK(contains(e, "plan.json:1:"));
  CHECK(contains(e, "micro_bach"));
  CHECK(contains(e, "did you mean \"micro_batch\"?"));
}

TEST_CASE("A ZeRO stage that is not modelled is refused", "[spec]") {
  std::string text = kPlan;
  text.replace(text.find('{') + 1, 0, R"("zero_stage": 4, )");
  CHECK(contains(error_of([&] { read_plan_text(text); }), "/plan/zero_stage"));
}

TEST_CASE("The ZeRO stage decides what a plan leaves out", "[spec]") {
  const auto with = [](const std::string& keys) {
    std::string text = kPlan;
    text.replace(text.find('{') + 1, 0, keys);
    return read_plan_text(text).dp;
  };
  const DataParallelSpec one = with("");
  CHECK_FALSE(one.reduces_in_backward());
  CHECK_FALSE(one.by_unit());
  const DataParallelSpec three = with(R"("zero_stage": 3, )");
  CHECK(three.reduce_every_micro_batch);
  CHECK(three.shards_weights());
  CHECK(three.shards_gradients());
  CHECK(three.reshard_after_forward);
  const DataParallelSpec once = with(R"("zero_stage": 3, "reduce_every_micro_batch": false, )");
  CHECK(once.shards_weights());
  CHECK_FALSE(once.shards_gradients());
  CHECK(with(R"("overlap_grad_reduce": true, )").by_bucket());
}

TEST_CASE("Contradictions of data parallelism are named", "[spec]") {
  const auto only = [](void (*change)(PlanSpec&), const std::string& part) {
    const std::vector<std::string> b = broken(change);
    REQUIRE(b.size() == 1);
    CAPTURE(b[0]);
    CHECK(contains(b[0], part));
  };
  only([](PlanSpec& p) { p.dp.reduce_every_micro_batch = true; },
       "reduce_every_micro_batch needs zero_stage 2 or 3, found 1");
  only([](PlanSpec& p) { p.dp.bucket_parameters = 1000; }, "bucket_parameters needs");
  only([](PlanSpec& p) { p.dp.reshard_after_forward = false; },
       "reshard_after_forward false needs zero_stage 3, found 1");
  only(
      [](PlanSpec& p) {
        p.dp.zero_stage = 0;
        p.dp.overlap_param_gather = true;
      },
      "overlap_param_gather needs zero_stage 1 to 3");
  only([](PlanSpec& p) { p.dp.gather_dtype = GatherDtype::kFp8; }, "gather_dtype fp8 needs");
  only([](PlanSpec& p) { p.schedule = ScheduleKind::k1F1B, p.dp.shard_group = 192; },
       "shard_group 192 does not divide data_parallel 128");
}

TEST_CASE("Each rule between plan, model and cluster has its sentence", "[spec]") {
  const auto only = [](void (*change)(PlanSpec&), const std::string& part) {
    const std::vector<std::string> b = broken(change);
    REQUIRE(b.size() == 1);
    CAPTURE(b[0]);
    CHECK(contains(b[0], part));
  };
  only(
      [](PlanSpec& p) {
        p.data_parallel = 64;
        p.micro_batch = 2;
      },
      "pipeline_parallel 16 x data_parallel 64 = 1024 ranks, but the cluster has nodes 256 x gpus "
      "8 = 2048 GPUs");
  only([](PlanSpec& p) { p.layers_per_stage.back() = 2; }, "layers_per_stage sums to 62");
  only(
      [](PlanSpec& p) {
        p.layers_per_stage[2] += p.layers_per_stage[1];
        p.layers_per_stage[1] = 0;
      },
      "layers_per_stage[1] is 0; only the first stage, which has the embedding, and the last");
  CHECK(broken([](PlanSpec& p) {
          p.layers_per_stage[1] += p.layers_per_stage[0];
          p.layers_per_stage[0] = 0;
        }).empty());
  only(
      [](PlanSpec& p) {
        p.layers_per_stage.pop_back();
        p.layers_per_stage.back() = 5;
      },
      "layers_per_stage has 15 entries, but pipeline_parallel is 16");
  only([](PlanSpec& p) { p.max_nodes_per_token = 9; }, "max_nodes_per_token 9 exceeds the 8 nodes");
  // 128 pipelines: 30 micro-batches are even but fewer than 2 x 16; 121 are odd.
  only([](PlanSpec& p) { p.global_batch = 128 * 30; }, "at least 2 x pipeline_parallel = 32");
  only([](PlanSpec& p) { p.global_batch = 128 * 121; }, "= 121");
}

TEST_CASE("An expert-parallel size must divide both the replicas and the experts", "[spec]") {
  const std::vector<std::string> b = broken([](PlanSpec& p) { p.expert_parallel = 96; });
  REQUIRE(b.size() == 2);
  CHECK(contains(b[0], "expert_parallel 96 does not divide data_parallel 128"));
  CHECK(contains(b[1], "expert_parallel 96 does not divide the model's 256 routed experts"));
}

TEST_CASE("1F1B has no rule about the number of micro-batches", "[spec]") {
  CHECK(broken([](PlanSpec& p) {
          p.schedule = ScheduleKind::k1F1B;
          p.global_batch = 128 * 7;
        }).empty());
}

TEST_CASE("Layers that no key splits come out even, the first stages with one more", "[spec]") {
  using Split = std::vector<int64_t>;
  const auto split = [](void (*change)(PlanSpec&)) {
    PlanSpec p = deepseek().plan;
    p.layers_per_stage.clear();
    p.pipeline_parallel = 4;
    change(p);
    ModelSpec m;
    m.layers = 30;
    split_layers(p, m);
    return p.layers_per_stage;
  };
  CHECK(split([](PlanSpec&) {}) == Split{8, 8, 7, 7});
  CHECK(split([](PlanSpec& p) { p.virtual_pipeline = 2; }) == Split{4, 4, 4, 4, 4, 4, 3, 3});
  CHECK(split([](PlanSpec& p) { p.layers_on_last_stage = 4; }) == Split{9, 9, 8, 4});
  CHECK(split([](PlanSpec& p) {
          p.layers_on_first_stage = 6;
          p.layers_on_last_stage = 6;
        }) == Split{6, 9, 9, 6});
  CHECK(split([](PlanSpec& p) { p.layers_per_stage = {30, 0, 0, 0}; }) == Split{30, 0, 0, 0});
  const std::string text = R"({"layers_on_last_stage": 1, )" + kPlan.substr(1);
  CHECK(contains(error_of([&] { read_plan_text(text); }), "/plan/layers_on_last_stage"));
}

TEST_CASE("A V-shaped schedule has two chunks per rank without being told", "[spec]") {
  std::string text = kPlan;
  text.replace(text.find("1f1b"), 4, "zb_v");
  CHECK(read_plan_text(text).virtual_pipeline == 2);
  CHECK(read_plan_text(kPlan).virtual_pipeline == 1);
}

TEST_CASE("Schedules and chunks that do not go together name their fields", "[spec]") {
  const auto found = [](void (*change)(PlanSpec&)) {
    std::string all;
    for (const std::string& b : broken(change)) all += b + "\n";
    return all;
  };
  CHECK(contains(found([](PlanSpec& p) { p.schedule = ScheduleKind::kInterleaved1F1B; }),
                 "schedule interleaved_1f1b needs virtual_pipeline of at least 2, found 1"));
  CHECK(contains(found([](PlanSpec& p) {
                   p.schedule = ScheduleKind::kInterleaved1F1B;
                   p.virtual_pipeline = 2;
                 }),
                 "pipeline_parallel 16 divides; found global_batch 15360 / (data_parallel 128 x "
                 "micro_batch 1) = 120"));
  CHECK(contains(found([](PlanSpec& p) { p.schedule = ScheduleKind::kZbV; }),
                 "schedule zb_v has virtual_pipeline 2, found 1"));
  CHECK(contains(found([](PlanSpec& p) { p.virtual_pipeline = 4; }),
                 "schedule dualpipe has one model chunk per rank, but virtual_pipeline is 4"));
  CHECK(contains(found([](PlanSpec& p) { p.virtual_pipeline = 4; }),
                 "layers_per_stage has 16 entries, but pipeline_parallel 16 x virtual_pipeline 4 = "
                 "64"));
  CHECK(contains(found([](PlanSpec& p) {
                   p.schedule = ScheduleKind::kDualPipeV;
                   p.virtual_pipeline = 2;
                   p.global_batch = 128 * 31;
                 }),
                 "schedule dualpipe_v needs at least 2 x pipeline_parallel = 32 micro-batches"));
  CHECK(contains(found([](PlanSpec& p) { p.schedule = ScheduleKind::kZbH1; }),
                 "overlap_expert_parallel is true, but schedule zb_h1 never runs"));
  CHECK(contains(found([](PlanSpec& p) { p.recompute.full = FullRecompute::kUniform; }),
                 "recompute.full is \"uniform\""));
}
