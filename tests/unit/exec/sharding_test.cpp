// Memory and time of sharded data parallelism, on a model whose bytes can be counted by hand.
#include "sim/schedule/compile_plan.h"
#include "tests/catch.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {

// Llama with 4 layers on 4 GPUs. Parameters of a layer: q, kv and o 3 x 256 x 256, gate and up
// 256 x 1408, down 704 x 256, two norms of 256: 737,792, a multiple of 4 shards x 128. Embedding
// and head 1024 x 256 each; the head's group has the final norm: 262,400, padded to 262,656.
constexpr int64_t kLayer = 737792, kEmbedding = 262144, kHead = 262656;
constexpr int64_t kPadded = 4 * kLayer + kEmbedding + kHead;
constexpr int64_t kParameters = kPadded - 256;

Prediction run(void (*change)(DataParallelSpec&), std::vector<std::string> more = {},
               void (*change_stack)(StackSpec&) = nullptr) {
  const std::string root = kSourceDir;
  std::vector<std::string> o = {"/cluster/node/gpus=4", "/plan/data_parallel=4",
                                "/plan/global_batch=16"};  // two micro-batches of two sequences
  o.insert(o.end(), more.begin(), more.end());
  StudySpec s = load_study(root + "/experiments/tiny_llama", o, root);
  change(s.plan.dp);
  if (change_stack != nullptr) change_stack(s.stack);
  REQUIRE(check_plan(s.plan, s.model, s.cluster).empty());
  PredictOptions options;
  options.record = true;
  return predict(s, options);
}

void zero_3(DataParallelSpec& d) {
  d.zero_stage = 3;
  d.reduce_every_micro_batch = d.overlap_grad_reduce = d.overlap_param_gather = true;
}
void zero_2(DataParallelSpec& d) {
  d.zero_stage = 2;
  d.reduce_every_micro_batch = d.overlap_grad_reduce = true;
}

int64_t held(const Prediction& p, BufferKind kind) {
  return p.plan.classes[0].static_bytes[static_cast<std::size_t>(kind)].count();
}

int count_ops(const Prediction& p, const std::string& name) {
  int n = 0;
  for (const OpRecord& r : p.trace.records) n += p.plan.graph_op(p.plan.ops[r.op]).name == name;
  return n;
}

// Bytes of a kind that are held beside the static ones, at most, in program order.
int64_t most_in_flight(const Prediction& p, BufferKind kind) {
  const RankClass& c = p.plan.classes[0];
  std::vector<std::vector<int>> left(static_cast<std::size_t>(c.slots()) + 1);
  int64_t now = 0, most = 0;
  for (const Call& call : c.calls) {
    const Block& b = c.blocks[call.block];
    for (const Instr& i : b.instrs) {
      if (i.kind != Instr::Kind::kAlloc && i.kind != Instr::Kind::kFree) continue;
      const bool forward = i.role == Role::kForward;
      const int slot = forward ? call.forward_slot : call.backward_slot;
      const StageGraph& g =
          p.plan.stages[static_cast<std::size_t>(forward ? b.forward_stage : b.backward_stage)];
      const Tensor& t = g.tensors[i.arg];
      if (t.kind != kind) continue;
      auto& readers = left[static_cast<std::size_t>(slot < 0 ? c.slots() : slot)];
      readers.resize(g.tensors.size());
      if (i.kind == Instr::Kind::kAlloc) {
        readers[i.arg] = t.readers;
        most = std::max(most, now += t.bytes.count());
      } else if (--readers[i.arg] == 0) {
        now -= t.bytes.count();
      }
    }
  }
  CHECK(now == 0);
  return most;
}

}  // namespace

TEST_CASE("Bytes per parameter of each ZeRO stage", "[exec]") {
  const Prediction zero0 = run([](DataParallelSpec& d) { d.zero_stage = 0; });
  CHECK(held(zero0, BufferKind::kWeights) == 2 * kParameters);
  CHECK(held(zero0, BufferKind::kGradients) == 4 * kParameters);
  CHECK(held(zero0, BufferKind::kOptimizer) == 12 * kParameters);

  // One array of all weights; kParameters = 6789 x 512 + 256, so padding makes it kPadded.
  const Prediction zero1 = run([](DataParallelSpec&) {});
  CHECK(held(zero1, BufferKind::kWeights) == 2 * kParameters);
  CHECK(held(zero1, BufferKind::kGradients) == 4 * kPadded);
  CHECK(held(zero1, BufferKind::kOptimizer) == 12 * kPadded / 4);

  const Prediction bf16 = run([](DataParallelSpec& d) { d.gradient_dtype = ReduceDtype::kBf16; });
  CHECK(held(bf16, BufferKind::kGradients) == 2 * kPadded);

  const Prediction zero2 = run(zero_2);
  CHECK(held(zero2, BufferKind::kWeights) == 2 * kParameters);
  CHECK(held(zero2, BufferKind::kGradients) == 4 * kPadded / 4);
  CHECK(held(zero2, BufferKind::kOptimizer) == 12 * kPadded / 4);

  const Prediction zero3 = run(zero_3);
  CHECK(held(zero3, BufferKind::kWeights) == 0);
  CHECK(held(zero3, BufferKind::kGradients) == 4 * kPadded / 4);
  CHECK(held(zero3, BufferKind::kOptimizer) == 12 * kPadded / 4);

  const Prediction sgd = run([](DataParallelSpec& d) {
    zero_3(d);
    d.optimizer = OptimizerKind::kSgd;
  });
  CHECK(held(sgd, BufferKind::kOptimizer) == 4 * kPadded / 4);

  // HSDP: two groups of two, each with everything; 256 divides the head's group without padding.
  const Prediction hsdp = run([](DataParallelSpec& d) {
    zero_3(d);
    d.shard_group = 2;
  });
  CHECK(held(hsdp, BufferKind::kOptimizer) == 12 * kParameters / 2);
}

TEST_CASE("FSDP holds the weights and gradients of two units", "[exec]") {
  const Prediction p = run(zero_3);
  // Two layers, or the first and the embedding with it. In program order a layer's gradients are
  // reduced before the next layer's backward; those of the embedding come with the first layer's.
  CHECK(most_in_flight(p, BufferKind::kWeights) == 2 * (2 * kLayer + kEmbedding));
  CHECK(most_in_flight(p, BufferKind::kGradients) == 2 * (kLayer + kEmbedding));
  // Of each of two micro-batches: every unit is gathered for the forward, and all but the head
  // again for the backward, which does not read the embedding. Each is reduced once.
  CHECK(count_ops(p, "gather weights") == 2 * (6 + 4));
  CHECK(count_ops(p, "reduce gradients") == 2 * 6);
}

TEST_CASE("The ends as one unit are gathered first, kept, and reduced last", "[exec]") {
  const Prediction p = run([](DataParallelSpec& d) {
    zero_3(d);
    d.one_unit_for_ends = true;
  });
  // Embedding, norm and head: 262,144 + 256 + 262,144, padded to a multiple of 512.
  constexpr int64_t kEnds = 524800;
  CHECK(held(p, BufferKind::kOptimizer) == 12 * (4 * kLayer + kEnds) / 4);
  // The ends and two layers at a time; the last layer is kept too.
  CHECK(most_in_flight(p, BufferKind::kWeights) == 2 * (kEnds + 2 * kLayer));
  CHECK(count_ops(p, "gather weights") == 2 * (5 + 3));
  CHECK(count_ops(p, "reduce gradients") == 2 * 5);
  // The gradient of the head waits for that of the embedding.
  CHECK(most_in_flight(p, BufferKind::kGradients) == 2 * (kEnds + kLayer));
}

TEST_CASE("FSDP2 copies weights out of what was gathered", "[exec]") {
  const Prediction p = run(zero_3, {}, [](StackSpec& s) { s.copies_gathered_weights = true; });
  // Before the first layer: the weights of the embedding and of the layer, and what arrived of the
  // layer and of the next.
  CHECK(most_in_flight(p, BufferKind::kWeights) == 2 * (kEmbedding + 3 * kLayer));
  CHECK(count_ops(p, "copy gathered weights") == count_ops(p, "gather weights"));
  for (const Block& b : p.plan.classes[0].blocks)
    for (const Instr& i : b.instrs) {
      if (i.kind != Instr::Kind::kAlloc) continue;
      const int stage = i.role == Role::kForward ? b.forward_stage : b.backward_stage;
      const Tensor& t = p.plan.stages[static_cast<std::size_t>(stage)].tensors[i.arg];
      // An allocator keeps the memory of streams apart.
      if (t.name == "gathered weights") CHECK(i.stream == StreamKind::kGradient);
      if (t.name == "unsharded weights") CHECK(i.stream == StreamKind::kCompute);
    }
}

TEST_CASE("FP8 weights of any recipe are gathered in a byte each", "[exec]") {
  const auto wire = [](GatherDtype dtype) {
    Prediction p = run(zero_3, {"/plan/precision=fp8_current"});
    StudySpec s = p.study;
    s.plan.dp.gather_dtype = dtype;
    p = predict(s, {});
    for (const Op& op : p.plan.stages[0].ops)
      if (op.name == "gather weights" && op.unit == 1) return op.work.network.count();
    return int64_t{0};
  };
  CHECK(wire(GatherDtype::kBf16) == 2 * kLayer);
  // Five matrices, of which a scale each travels too, and two norms of 256 in BF16.
  CHECK(wire(GatherDtype::kFp8) == kLayer - 2 * 256 + 5 * 4 + 2 * 2 * 256);
}

TEST_CASE("What the kernels of a loss hold beside the logits", "[exec]") {
  const auto beside = [](void (*change)(StackSpec&)) {
    const Prediction p = run([](DataParallelSpec&) {}, {}, change);
    const int64_t logits = p.study.plan.tokens_per_rank() * p.study.model.vocab;
    return static_cast<double>(most_in_flight(p, BufferKind::kWorkspace)) /
           static_cast<double>(logits);
  };
  CHECK(beside([](StackSpec& s) { s.loss_kernel = LossKernel::kInPlace; }) < 1);
  CHECK(beside([](StackSpec& s) { s.loss_kernel = LossKernel::kCompiled; }) == 2);
  // The log-softmax, its gradient and that of the logits, in FP32.
  CHECK(beside([](StackSpec& s) { s.loss_kernel = LossKernel::kEager; }) == 12);
}

TEST_CASE("Dummy weight gradients: one tensor for each shape of a layer's weights", "[exec]") {
  const Prediction p =
      run([](DataParallelSpec&) {}, {}, [](StackSpec& s) { s.dummy_weight_gradients = true; });
  // q and o 256 x 256; kv 256 x 256 as well, as the layer's bytes above say; gate and up, down.
  CHECK(held(p, BufferKind::kWorkspace) == 2 * (256 * 256 + 1408 * 256 + 256 * 704));
}

TEST_CASE("SHARD_GRAD_OP gathers once and keeps all weights", "[exec]") {
  const Prediction p = run([](DataParallelSpec& d) {
    zero_3(d);
    d.reshard_after_forward = false;
  });
  CHECK(count_ops(p, "gather weights") == 2 * 6);
  CHECK(most_in_flight(p, BufferKind::kWeights) >= 2 * (4 * kLayer + kHead));
}

TEST_CASE("no_sync reduces with the last micro-batch and holds whole gradients", "[exec]") {
  const Prediction p = run([](DataParallelSpec& d) {
    zero_3(d);
    d.reduce_every_micro_batch = false;
  });
  CHECK(count_ops(p, "reduce gradients") == 6);
  CHECK(held(p, BufferKind::kGradients) == 4 * kPadded);
  CHECK(most_in_flight(p, BufferKind::kGradients) == 0);
}

TEST_CASE("HSDP adds a reduction over the copies of each shard", "[exec]") {
  const Prediction p = run([](DataParallelSpec& d) {
    zero_3(d);
    d.shard_group = 2;
  });
  CHECK(count_ops(p, "reduce gradients") == 2 * 6);
  CHECK(count_ops(p, "reduce shards") == 2 * 6);
}

TEST_CASE("Buckets: their number, and that overlap is never slower", "[exec]") {
  const auto buckets = [](DataParallelSpec& d) {
    d.overlap_grad_reduce = d.overlap_param_gather = true;
    d.bucket_parameters = kLayer;
  };
  const Prediction apart = run([](DataParallelSpec&) {});
  const Prediction overlapped = run(buckets);
  CHECK(count_ops(overlapped, "reduce gradients") == count_ops(overlapped, "gather weights"));
  CHECK(count_ops(overlapped, "reduce gradients") > 4);
  CHECK(count_ops(apart, "reduce gradients") == 1);
  CHECK(overlapped.trace.memory[0].peak == apart.trace.memory[0].peak);
}
