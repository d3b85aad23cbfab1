// Muon's ops, their work, and how its matrices are split.
#include "sim/graph/muon.h"

#include <fmt/format.h>

#include "sim/exec/verify_backend.h"
#include "sim/study/analytic.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// Llama with 4 layers. Of each: q, kv and o 256 x 256, gate and up 1408 x 256, down 256 x 704.
StudySpec muon_llama(int64_t data, std::vector<std::string> more = {}) {
  std::vector<std::string> o = {
      fmt::format("/cluster/node/gpus={}", data), fmt::format("/plan/data_parallel={}", data),
      fmt::format("/plan/global_batch={}", 4 * data), "/plan/optimizer=muon"};
  o.insert(o.end(), more.begin(), more.end());
  const std::string root = kSourceDir;
  return load_study(root + "/experiments/tiny_llama", o, root);
}

const StageGraph& optimizer(const ExecPlan& plan) { return plan.stages.back(); }

// The ops of a name, of the share whose matrices are rows x cols.
std::vector<Op> ops(const ExecPlan& plan, const std::string& name, int64_t rows, int64_t cols) {
  std::vector<Op> found;
  const auto& shares = plan.classes[0].shares;
  for (const Op& op : optimizer(plan).ops) {
    if (op.name != name) continue;
    const MatrixStack& m = shares[static_cast<std::size_t>(op.shape.index)].matrices;
    if (m.rows == rows && m.cols == cols) found.push_back(op);
  }
  return found;
}

}  // namespace

TEST_CASE("FLOPs and bytes of Muon's ops", "[graph]") {
  const StudySpec s = muon_llama(4);
  const Prediction p = predict(s, {});
  // Of 12 square matrices a rank has 3: 196,608 elements. FP32 gradients, momentum read and
  // written, BF16 update written: 4 + 8 + 2 bytes each.
  const auto momentum = ops(p.plan, "muon momentum", 256, 256);
  REQUIRE(momentum.size() == 1);
  CHECK(momentum[0].work.hbm == Bytes(14 * 196608));
  CHECK(ops(p.plan, "muon normalise", 256, 256).at(0).work.hbm == Bytes(4 * 196608));
  // BF16 update, FP32 master weights read and written, BF16 weights.
  CHECK(ops(p.plan, "muon update", 256, 256).at(0).work.hbm == Bytes(12 * 196608));
  const auto gram = ops(p.plan, "newton-schulz gram", 1408, 256);
  REQUIRE(gram.size() == 5);
  // A rank's one matrix of gate and up, from its shorter side: 2·256·256·1408 operations; X read,
  // A written.
  CHECK(gram[0].work.flops.count() == 2.0 * 256 * 256 * 1408);
  CHECK(gram[0].work.hbm == Bytes(2 * 1408 * 256 + 2 * 256 * 256));
  CHECK(gram[0].layout == GemmLayout::kTN);
  CHECK(ops(p.plan, "newton-schulz gram", 256, 704).at(0).layout == GemmLayout::kNT);
  const Op square = ops(p.plan, "newton-schulz square", 1408, 256).at(0);
  CHECK(square.work.flops.count() == 2.0 * 256 * 256 * 256);
  CHECK(square.work.hbm == Bytes(2 * 2 * 256 * 256));
  const Op apply = ops(p.plan, "newton-schulz apply", 1408, 256).at(0);
  CHECK(apply.work.flops.count() == 2.0 * 1408 * 256 * 256);
  CHECK(apply.work.hbm == Bytes(2 * 256 * 256 + 2 * 2 * 1408 * 256));
  // All: five times 4 r² c + 2 r³ for each matrix.
  //   3 of 256 x 256: 3·6·256³                 =   301,989,888
  //   256 x 1408:     4·256²·1408 + 2·256³     =   402,653,184
  //   256 x 704:      4·256²·704 + 2·256³      =   218,103,808
  double flops = 0;
  for (const Op& op : optimizer(p.plan).ops) flops += op.work.flops.count();
  CHECK(flops == 5.0 * (301989888 + 402653184 + 218103808));
  CHECK(verify(p.plan).empty());
  CHECK(analytic_step(s).step_s <= p.step_time_s);
}

TEST_CASE("Muon's states: one moment of whole matrices", "[graph]") {
  const auto states = [](const StudySpec& s) {
    return predict(s, {})
        .plan.classes[0]
        .static_bytes[static_cast<std::size_t>(BufferKind::kOptimizer)]
        .count();
  };
  // Per rank 3·65,536 + 360,448 + 180,224 = 737,280 parameters of Muon at 8 bytes, and of AdamW at
  // 12 the embedding, the head and nine norms: 2·262,144 + 9·256 = 526,592, padded to a multiple of
  // 4·128, over 4: 131,712.
  CHECK(states(muon_llama(4)) == 8 * 737280 + 12 * 131712);
  CHECK(states(muon_llama(4, {"/plan/moments=bf16"})) == 6 * 737280 + 8 * 131712);
  // All on every rank with ZeRO-0.
  CHECK(states(muon_llama(4, {"/plan/zero_stage=0"})) == 8 * 4 * 737280 + 12 * 526592);
  // On 8 ranks: two square matrices, and one of each of the others on the first four.
  CHECK(states(muon_llama(8)) == 8 * (2 * 65536 + 360448 + 180224) + 12 * 527360 / 8);
}

TEST_CASE("Shards of a stack are whole matrices, the first never the smaller", "[graph]") {
  // 7 matrices of 6 elements over 3: 3, 2 and 2.
  const MatrixStack m{2, 3, 7};
  const int64_t begin[] = {0, 18, 30}, elements[] = {18, 12, 12};
  for (int64_t i = 0; i < 3; ++i) {
    CHECK(shard_range(128, m, 3, i).begin == begin[i]);
    CHECK(shard_range(128, m, 3, i).elements == elements[i]);
  }
  // Two over 4: the last two have none.
  CHECK(shard_range(128, {2, 3, 2}, 4, 1).elements == 6);
  CHECK(shard_range(128, {2, 3, 2}, 4, 2).elements == 0);
  CHECK(shard_range(128, {2, 3, 2}, 4, 3).begin == 12);
  CHECK(shard_range(512, {}, 4, 3).begin == 384);
}

TEST_CASE("Large shares are orthogonalised in batches", "[graph]") {
  // Square matrices of 4096² = 2^24 elements: 2^26 / 2^24 = 4 at a time, of 3 layers · 3 = 9.
  const StudySpec s = muon_llama(1, {"/model/hidden_size=4096", "/model/num_attention_heads=32",
                                     "/model/num_key_value_heads=16", "/model/head_dim=128",
                                     "/model/num_hidden_layers=3", "/plan/layers_per_stage=[3]"});
  const ExecPlan plan = predict(s, {}).plan;
  std::vector<int64_t> counts;
  for (const Op& op : ops(plan, "muon momentum", 4096, 4096)) counts.push_back(op.shape.groups);
  CHECK(counts == std::vector<int64_t>{4, 4, 1});
}

TEST_CASE("What Muon does not go with is refused by name", "[graph]") {
  const auto error = [](std::vector<std::string> more) {
    return error_of([&] { muon_llama(4, std::move(more)); });
  };
  CHECK(contains(error({"/plan/tensor_parallel=2", "/plan/data_parallel=2"}),
                 "optimizer muon needs whole matrices: tensor_parallel 1"));
  CHECK(contains(error({"/plan/zero_stage=2"}), "optimizer muon needs zero_stage 0 or 1"));
  CHECK(contains(error({"/plan/overlap_grad_reduce=true"}), "overlap_grad_reduce"));
  CHECK(contains(error({"/plan/shard_group=2"}), "optimizer muon needs shard_group 0, found 2"));
  CHECK(contains(error({"/plan/optimizer=adamw", "/plan/newton_schulz_steps=6"}),
                 "newton_schulz_steps 6 needs optimizer muon, found adamw"));
}
