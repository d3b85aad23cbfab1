// What tensor, sequence and context parallelism leave of the work on a rank, and what they add.
#include <map>

#include "sim/graph/stage_builder.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// One stage of 4 dense layers with grouped-query attention: hidden 256, 8 heads, 4 key-value heads,
// FFN 704, vocabulary 1024; micro-batches of 2 x 128 tokens.
StudySpec parallel_llama(std::vector<std::string> more, int gpus) {
  const std::string root = kSourceDir;
  more.push_back("/cluster/node/gpus=" + std::to_string(gpus));
  return load_study(root + "/experiments/tiny_llama", more, root);
}

StageGraph stage(const StudySpec& s) {
  return build_stage({s.model, s.plan, s.stack, s.cluster.node.gpus}, 0);
}

double flops(const StageGraph& g) {
  double f = 0;
  for (const Op& op : g.ops) f += op.work.flops.count();
  return f;
}

// Collectives of a kind on rows of the hidden size, by (kind, phase).
std::map<std::pair<OpKind, Phase>, int> collectives(const StageGraph& g, CommKind comm,
                                                    int64_t bytes) {
  std::map<std::pair<OpKind, Phase>, int> n;
  for (const Op& op : g.ops)
    if (op.comm == comm && op.work.network.count() == bytes) ++n[{op.kind, op.phase}];
  return n;
}

const std::string kTensor2 = "/plan/tensor_parallel=2";
const std::string kSequence = "/plan/sequence_parallel=true";

}  // namespace

TEST_CASE("Tensor parallelism divides the FLOPs and the matrices", "[graph]") {
  const StageGraph one = stage(parallel_llama({}, 1));
  for (const std::string& sp : {std::string("/plan/sequence_parallel=false"), kSequence}) {
    const StageGraph two = stage(parallel_llama({kTensor2, sp}, 2));
    CHECK(2 * flops(two) == flops(one));
    // Norms stay whole: two in each of 4 layers and the last.
    CHECK(2 * two.param_count(false) - 9 * 256 == one.param_count(false));
  }
}

TEST_CASE("Without sequence parallelism sums cross the group, with it rows", "[graph]") {
  const int64_t bytes = 2 * 128 * 256 * 2;  // BF16 rows of all tokens
  using K = std::pair<OpKind, Phase>;
  // Forward: attention and FFN of 4 layers and the embedding. Backward: their inputs and the
  // head's.
  const auto plain = collectives(stage(parallel_llama({kTensor2}, 2)), CommKind::kTensor, bytes);
  CHECK(plain == std::map<K, int>{{{OpKind::kAllReduce, Phase::kForward}, 9},
                                  {{OpKind::kAllReduce, Phase::kBackward}, 9}});
  // Rows are gathered before the column-parallel products (8 and the head) and their sums scattered
  // after the row-parallel ones (8 and the embedding). Backward: gradients of the row-parallel
  // outputs gathered (9), the inputs of the column-parallel ones again (9), their gradients
  // scattered (9).
  const auto rows =
      collectives(stage(parallel_llama({kTensor2, kSequence}, 2)), CommKind::kTensor, bytes);
  CHECK(rows == std::map<K, int>{{{OpKind::kAllGather, Phase::kForward}, 9},
                                 {{OpKind::kReduceScatter, Phase::kForward}, 9},
                                 {{OpKind::kAllGather, Phase::kBackward}, 18},
                                 {{OpKind::kReduceScatter, Phase::kBackward}, 9}});
}

TEST_CASE("Pipelined rows move the same bytes in blocks and compute the same", "[graph]") {
  const std::vector<std::string> four = {"/plan/tensor_parallel=4", kSequence};
  std::vector<std::string> pipelined = four;
  pipelined.push_back("/plan/overlap_tensor_parallel=true");
  const StageGraph whole = stage(parallel_llama(four, 4)),
                   blocks = stage(parallel_llama(pipelined, 4));
  CHECK(flops(blocks) == flops(whole));
  // Blocks of 256/4 rows of 256 in BF16, 3 exchanges for each collective. Forward: gathered for 4
  // attentions and FFNs (the head's is whole), scattered after 4 of each; backward: gathered after
  // 4 of each.
  using K = std::pair<OpKind, Phase>;
  const auto sent = collectives(blocks, CommKind::kTensor, 256 / 4 * 256 * 2);
  CHECK(sent == std::map<K, int>{{{OpKind::kRingExchange, Phase::kForward}, 3 * 16},
                                 {{OpKind::kRingExchange, Phase::kBackward}, 3 * 8}});
}

TEST_CASE("A context-parallel ring halves the tokens and keeps the work of causal attention",
          "[graph]") {
  const StageGraph one = stage(parallel_llama({}, 1));
  const StageGraph ring = stage(parallel_llama({"/plan/context_parallel=2"}, 2));
  CHECK(2 * flops(ring) == flops(one));
  CHECK(ring.param_count(false) == one.param_count(false));
  // Keys and values of 2 x 64 tokens, 4 heads of 32 each: sent once forward. Backward: once again,
  // and their gradients twice.
  const auto sent = collectives(ring, CommKind::kContext, 2 * 64 * 4 * (32 + 32) * 2);
  using K = std::pair<OpKind, Phase>;
  CHECK(sent == std::map<K, int>{{{OpKind::kRingExchange, Phase::kForward}, 4},
                                 {{OpKind::kRingExchange, Phase::kBackward}, 12}});
}

TEST_CASE("Heads for positions and back: all-to-all context parallelism", "[graph]") {
  const StageGraph one = stage(parallel_llama({}, 1));
  const StageGraph g = stage(
      parallel_llama({"/plan/context_parallel=2", "/plan/context_parallel_kind=all_to_all"}, 2));
  CHECK(2 * flops(g) == flops(one));
  std::map<OpKind, int> n;
  for (const Op& op : g.ops)
    if (op.comm == CommKind::kContext) ++n[op.kind];
  // Forward: q, kv; back the output. Backward: its gradient; back those of q and kv.
  CHECK(n == std::map<OpKind, int>{{OpKind::kScatterHeads, 4 * 3}, {OpKind::kGatherHeads, 4 * 3}});
}

TEST_CASE("What tensor and context parallelism must divide is named", "[spec]") {
  const std::string heads = error_of([] { parallel_llama({"/plan/tensor_parallel=3"}, 3); });
  CHECK(contains(heads, "tensor_parallel 3 does not divide the model's 8 attention heads"));
  CHECK(contains(heads, "tensor_parallel 3 does not divide the model's 4 key-value heads"));
  CHECK(contains(heads, "vocabulary of 1024 (vocab_size); pad it to 1026"));
  CHECK(contains(error_of([] { parallel_llama({"/plan/tensor_parallel=2"}, 1); }),
                 "pipeline_parallel 1 x data_parallel 1 x tensor_parallel 2 = 2 ranks"));
  CHECK(contains(error_of([] { parallel_llama({"/plan/context_parallel=3"}, 3); }),
                 "sequence_length 128 is not a multiple of 6 chunks of context_parallel 3 (ring)"));
  CHECK(contains(error_of([] {
                   deepseek({"/plan/tensor_parallel=2", "/plan/data_parallel=64"});
                 }),
                 "needs sequence_parallel true"));
}
