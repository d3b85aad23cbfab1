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
#include <vector>

#include "sim/graph/ids.h"
#include "sim/graph/op.h"
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
};
constexpr int kBufferKinds = 6;
extern const std::string_view kBufferKindNames[kBufferKinds];

struct Tensor {
  std::string name;
  Dtype dtype = Dtype::kBf16;
  BufferKind kind = BufferKind::kActivations;
  int64_t rows = 0, cols = 0;
  Bytes bytes{0};
  Phase last_use = Phase::kForward;  // after whose last reader it is freed
  uint8_t readers = 0;               // streams that read it in that phase: each frees it once
  bool is_read = false;              // by any op; else its writer frees it
};

struct Param {
  std::string name;
  Dtype dtype = Dtype::kBf16;  // of the copy that kernels read
  int64_t rows = 0, cols = 0;
  bool expert = false;  // sharded over the expert-parallel group
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
};
constexpr int kSegmentKinds = static_cast<int>(SegmentKind::kOptimizer) + 1;
extern const std::string_view kSegmentNames[kSegmentKinds];  // "attn(F)", ...

// Streams of a rank. Expert weight gradients may use a second compute stream. Each direction of a
// pipeline boundary has a stream and a communicator of its own, so that no transfer waits behind
// one for another peer.
enum class StreamKind : uint8_t {
  kCompute,
  kComputeAux,
  kAllToAll,
  kSendForward,
  kRecvForward,
  kSendBackward,
  kRecvBackward,  // chunk 0
  kSendForward1,
  kRecvForward1,
  kSendBackward1,
  kRecvBackward1,  // chunk 1 (DualPipe)
  kGradient,
};
constexpr int kStreams = static_cast<int>(StreamKind::kGradient) + 1;
extern const std::string_view kStreamNames[kStreams];

// Which ranks take part in a collective or transfer.
enum class CommKind : uint8_t {
  kNone,
  kForwardP2p,
  kBackwardP2p,
  kExpert,      // expert-parallel group
  kData,        // every replica of a stage's dense weights
  kExpertData,  // every replica of a shard of its experts
  kWorld,
};
constexpr int kCommKinds = 7;
extern const std::string_view kCommKindNames[kCommKinds];

struct Op {
  OpKind kind = OpKind::kCopy;
  Phase phase = Phase::kForward;
  SegmentKind segment = SegmentKind::kAttnF;
  StreamKind stream = StreamKind::kCompute;
  CommKind comm = CommKind::kNone;
  // Work grows with the rows that this rank's experts receive, so it varies between ranks.
  bool row_proportional = false;
  int16_t unit = 0;    // position of the layer or head in its stage
  int32_t layer = -1;  // of the model; MTP modules follow the last layer; -1: none
  std::string name;    // "q_down fwd"
  OpShape shape;
  OpWork work;
  ParamId param;
  uint32_t first_operand = 0;
  uint16_t inputs = 0, outputs = 0;
};

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
  int units = 0;  // layers and heads of the stage, in forward order
  // Boundary tensors; invalid on the first (in) and last (out) stage.
  TensorId act_in, act_out, grad_in, grad_out;

  std::span<const TensorId> inputs(const Op& op) const {
    return {operands.data() + op.first_operand, op.inputs};
  }
  std::span<const TensorId> outputs(const Op& op) const {
    return {operands.data() + op.first_operand + op.inputs, op.outputs};
  }
  // The segment, or nullptr when the unit has none of that kind.
  const Segment* find(SegmentKind kind, int unit) const;
  int64_t param_count(bool expert) const;
  // Fills Tensor::last_use and readers from the ops.
  void index_readers();
};

}  // namespace orrery
