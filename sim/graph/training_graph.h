// The training graph of one pipeline stage for one micro-batch: forward, backward and
// weight-gradient ops with the tensors between them, and of the optimizer step.
//
// Structure of arrays: ops, tensors and parameters are indexed by id; an op's operands are ranges
// of one shared index array. Ops are stored in program order, grouped into segments, the units that
// schedules place (attention forward of a layer, dispatch of its tokens...).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/graph/ids.h"
#include "sim/graph/op.h"
#include "sim/graph/shard_range.h"
#include "sim/spec/dtype.h"

namespace orrery {

// What a buffer is for, in memory reports.
enum class BufferKind : uint8_t {
  kWeights,
  kGradients,
  kOptimizer,
  kActivations,
  kCommunication,
  kWorkspace,
  kHost,  // in host memory: not part of what a GPU holds
};
constexpr int kBufferKinds = 6;  // of a GPU's memory
extern const std::string_view kBufferKindNames[kBufferKinds];

// Streams of a rank. Expert weight gradients may use a second compute stream. Pipeline transfers
// have one per lane, pass and end: lane 0 is of the chunks whose forward goes up the ranks (and
// round from the last to the first), lane 1 of those whose forward goes down (DualPipe, V shapes).
// So each of them has one peer, and no transfer waits behind one for another.
enum class StreamKind : uint8_t {
  kCompute,
  kComputeAux,
  kAllToAll,
  kSendForward,
  kRecvForward,
  kSendBackward,
  kRecvBackward,  // lane 0
  kSendForward1,
  kRecvForward1,
  kSendBackward1,
  kRecvBackward1,  // lane 1
  kGradient,
  kTensor,  // collectives of tensor, context and expert-tensor parallelism
  kHostToDevice,
  kDeviceToHost,  // copies
};
constexpr int kStreams = static_cast<int>(StreamKind::kDeviceToHost) + 1;
extern const std::string_view kStreamNames[kStreams];

// Rows that depend on where the router sends tokens. The graph holds the rows of balanced routing;
// a runtime puts the real ones of the tensor's layer and micro-batch in their place.
enum class DynamicRows : uint8_t {
  kNone,
  kArrived,   // one row per token that chose at least one local expert
  kGathered,  // those of the whole expert-tensor-parallel group
  kExpanded,  // one row per (token, local expert), experts padded to whole tiles
};

// Tensors of indices that several arrays share; kernels/moe/layout_view.h has the arrays.
enum class PackedIndex : uint8_t { kNone, kExpertLayout, kDispatchLayout };

struct Tensor {
  std::string name;
  Dtype dtype = Dtype::kBf16;
  BufferKind kind = BufferKind::kActivations;
  int64_t rows = 0, cols = 0;
  Bytes bytes{0};
  DynamicRows dynamic_rows = DynamicRows::kNone;
  DynamicRows dynamic_cols = DynamicRows::kNone;  // of transposed operands
  PackedIndex packed = PackedIndex::kNone;
  int64_t groups = 1;               // matrices of whole 128x128 blocks that follow each other
  int16_t unit = 0;                 // whose routing decides the dynamic rows
  Phase written = Phase::kForward;  // by its first writer
  uint8_t readers = 0;    // streams that read it: each frees it once, after its last reader
  bool is_read = false;   // by any op; else its writer frees it
  bool reloaded = false;  // from host memory, by a call of its own before that of the backward
  std::vector<std::pair<StreamKind, Phase>> last_use;  // of each stream that frees it

  // Whether an op of that stream and phase may be the last one there. Weight gradients may be in
  // the block of the backward (`merged`) or in one of their own.
  bool may_free(StreamKind stream, Phase phase, bool merged) const;
};

// How a matrix is split over the tensor-parallel group (an expert's: the expert-tensor-parallel
// one).
enum class ShardAxis : uint8_t { kNone, kRows, kCols };

// This rank's part of a matrix. A matrix of two parts (gate and up, keys and values) has each of
// them split; the local one is the parts' shards, `first` rows or columns long and the rest.
struct ParamShard {
  ShardAxis axis = ShardAxis::kNone;
  int64_t ways = 1;
  int64_t first = 0;  // 0: one part
};

// How a weight starts.
enum class ParamInit : uint8_t { kNormal, kOnes, kZeros };

struct Param {
  std::string name;
  Dtype dtype = Dtype::kBf16;  // of the copy that kernels read
  int64_t rows = 0, cols = 0;
  bool expert = false;  // sharded over the expert-parallel group
  bool trained = true;  // by the optimizer; else a buffer that ops update
  bool saved = true;    // part of the model; else scratch of a step
  int64_t groups = 1;   // experts whose matrices [rows / groups, cols] follow each other
  int32_t layer = -1;   // of the model; -1: none
  ParamInit init = ParamInit::kNormal;
  ParamShard shard;  // rows and cols are this rank's
  // The same on all ranks of the tensor-parallel group, each of which has the gradient of its own
  // rows or heads only: they are summed before the optimizer.
  bool tensor_summed = false;
  // One product of the stage makes the gradient and writes it, in a step of one micro-batch:
  // nothing is added to, and so nothing zeroed (StackSpec::writes_gradients).
  bool gradient_written = false;
  int64_t count() const { return rows * cols; }
};

// The schedulable parts of a unit (a layer, or the head), named by their autograd role as in
// DeepSeek's profile: combine(B) moves gradients with a dispatch kernel, dispatch(B) with a
// combine.
enum class SegmentKind : uint8_t {
  kAttnF,
  kDispatchF,
  kMlpF,
  kCombineF,
  kCombineB,
  kMlpB,
  kDispatchB,
  kAttnB,
  kNormB,  // the rest of kAttnB, where sums of its input gradients travel beside or after kAttnW
  kMlpW,
  kAttnW,
  kHeadF,
  kHeadB,
  kHeadW,
  kRecvF,
  kSendF,
  kRecvB,
  kSendB,
  kOptimizer,
  // The forward of a layer again, before its backward.
  kAttnR,
  kDispatchR,
  kMlpR,
  kCombineR,
  // Of the groups of weights whose use begins at the unit in the pass, or in the backward ends.
  kGatherF,
  kUnshardF,  // what makes of gathered weights those that kernels read
  kGatherB,
  kUnshardB,
  kReduceB,
  // Copies of a unit's activations to host memory, and back before the unit's backward.
  kOffloadF,
  kReloadB,
};
constexpr int kSegmentKinds = static_cast<int>(SegmentKind::kReloadB) + 1;
extern const std::string_view kSegmentNames[kSegmentKinds];  // "attn(F)", ...

// Which ranks take part in a collective or transfer.
enum class CommKind : uint8_t {
  kNone,
  kForwardP2p,
  kBackwardP2p,
  kExpert,      // expert-parallel group
  kData,        // every replica of a rank's part of a stage's dense weights
  kExpertData,  // every replica of a shard of its experts
  kEmbedding,   // the stages of one pipeline that hold the embedding
  kWorld,
  kTensor,
  kContext,
  kExpertTensor,
  kStage,        // all ranks that hold a stage
  kShard,        // HSDP: the replicas over which states are split
  kReplica,      // those that hold the same shard
  kExpertShard,  // the same of a shard of the experts
  kExpertReplica,
};
constexpr int kCommKinds = 16;
extern const std::string_view kCommKindNames[kCommKinds];
inline bool is_p2p(CommKind k) { return k == CommKind::kForwardP2p || k == CommKind::kBackwardP2p; }

struct Op {
  OpKind kind = OpKind::kCopy;
  Phase phase = Phase::kForward;
  SegmentKind segment = SegmentKind::kAttnF;
  StreamKind stream = StreamKind::kCompute;
  CommKind comm = CommKind::kNone;
  // Work grows with the rows that this rank's experts receive, so it varies between ranks.
  bool row_proportional = false;
  // In the epilogue of a product, behind the main loop of its next tile: no kernel, no time.
  bool in_epilogue = false;
  bool again = false;  // an op of the forward that the backward runs again; counts nothing twice
  bool writes_gradient = false;  // Param::gradient_written: of the product that makes it
  int16_t unit = 0;              // position of the layer or head in its stage
  int32_t layer = -1;            // of the model; MTP modules follow the last layer; -1: none
  std::string name;              // "q_down fwd"
  OpShape shape;
  OpWork work;
  ParamId param;
  ParamId bias;  // added to each row of the result: of products and norms
  // Sharded weights and gradients: the gathered weights of the parameter's group that the op reads,
  // and the group's gradients that it adds to. Invalid: the arrays that are held all the time.
  TensorId weights, grad;
  TensorId keeps;  // not read, but held until here
  GemmLayout layout = GemmLayout::kNT;
  uint32_t first_operand = 0;
  uint16_t inputs = 0, outputs = 0;
};

// Weights of a stage that are reduced, gathered and updated together: a flat array, each parameter
// padded to whole 128-element chunks; of Muon equal matrices without gaps, padded at the end.
struct ParamGroup {
  bool expert = false;
  std::vector<ParamId> params;
  std::vector<int64_t> offsets;  // where each starts
  int64_t elements = 0;          // of all, padded to a multiple of shards x 128
  MatrixStack matrices;          // of Muon: what the group is made of; else empty
  int64_t owners = 1;            // replicas that reduce their gradients together
  int64_t shards = 1;            // over which they split states, gradients or weights
  // Leading elements that are the same on all ranks of the tensor-parallel group, and of these the
  // first, whose gradients are summed over it.
  int64_t tensor_replicated = 0, tensor_summed = 0;
  // Lowest unit that uses them: the first to need them and, in the backward, the last.
  int16_t first_unit = 0;

  // Of the shard that has most.
  int64_t owned() const { return shard_range(elements, matrices, shards, 0).elements; }
};
constexpr int64_t kShareAlignment = 128;

// The one parameter that two stages may share: tied to the head, or read by an MTP module.
constexpr std::string_view kEmbeddingParam = "embedding.weight";
// The output projection that is not tied to it, and learned position vectors.
constexpr std::string_view kHeadParam = "head.weight";
constexpr std::string_view kPositionsParam = "positions.weight";

struct Segment {
  SegmentKind kind;
  int16_t unit;
  uint32_t first_op, end_op;
};

struct StageGraph {
  std::vector<Op> ops;
  std::vector<Tensor> tensors;
  std::vector<Param> params;
  std::vector<TensorId> operands;
  std::vector<Segment> segments;
  std::vector<ParamGroup> groups;
  int units = 0;                    // layers and heads of the stage, in forward order
  bool sums_after_weights = false;  // StackSpec::sums_after_weight_gradients
  // Per unit: the first of the units, up to this one, whose forward runs again before the backward
  // of this one; -1: none.
  std::vector<int> recompute_from;
  // Boundary tensors; invalid on the first (in) and last (out) stage.
  TensorId act_in, act_out, grad_in, grad_out;

  std::span<const TensorId> inputs(const Op& op) const {
    return {operands.data() + op.first_operand, op.inputs};
  }
  std::span<const TensorId> outputs(const Op& op) const {
    return {operands.data() + op.first_operand + op.inputs, op.outputs};
  }
  // Inputs, what is held, gathered weights, and the gradients that the op adds to; then all that
  // it writes.
  template <class F>
  void for_each_read(const Op& op, F f) const {
    for (TensorId t : inputs(op)) f(t);
    if (op.keeps.valid()) f(op.keeps);
    if (op.weights.valid()) f(op.weights);
    if (op.grad.valid()) f(op.grad);
  }
  template <class F>
  void for_each_written(const Op& op, F f) const {
    for (TensorId t : outputs(op)) f(t);
    if (op.grad.valid()) f(op.grad);
  }
  // The segment, or nullptr when the unit has none of that kind.
  const Segment* find(SegmentKind kind, int unit) const;
  int64_t param_count(bool expert) const;
  // Fills what tensors say of their writers and readers.
  void index_readers();
  // The parameter of that name and layer; invalid when there is none.
  ParamId find_param(std::string_view name, int32_t layer) const;
};

// Whether the op belongs to the forward pass, be it run again.
inline bool is_forward(const Op& op) { return op.phase == Phase::kForward || op.again; }

KernelClass op_class(const Op& op);

}  // namespace orrery
