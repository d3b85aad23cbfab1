// Appends ops to the StageGraph of a pipeline stage: what the block families (sim/graph/blocks.h)
// share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/graph/training_graph.h"
#include "sim/spec/model.h"
#include "sim/spec/plan.h"
#include "sim/spec/stack.h"

namespace orrery {

struct GraphConfig {
  const ModelSpec& model;
  const PlanSpec& plan;
  const StackSpec& stack;
  int64_t gpus_per_node = 8;
};

// Expert rows of one rank and micro-batch when routing is balanced.
struct ExpertRows {
  int64_t local_experts = 0;
  int64_t expanded = 0;  // one row per (token, local expert), each expert padded to 128 on average
  int64_t arrived = 0;   // one row per token that chose at least one local expert
  int64_t nodes_per_token = 1;  // that a token is sent to (its own may be among them)
};
// Balanced routing over `top_groups` of the model's expert groups. Expected distinct ranks of a
// token: r·(1 - C(E_r - e, k)/C(E_r, k)) with r ranks holding the E_r reachable experts, e a rank.
ExpertRows expert_rows(const GraphConfig& c);

// Block outputs not yet added to the residual stream: the next norm adds them on its way.
using Addends = std::vector<TensorId>;

class StageBuilder {
 public:
  explicit StageBuilder(const GraphConfig& config);

  const GraphConfig& config() const { return config_; }
  const ModelSpec& model() const { return config_.model; }
  int64_t tokens() const { return config_.plan.tokens_per_micro_batch(); }
  const ExpertRows& rows() const { return rows_; }

  // Where the next ops go.
  void begin(SegmentKind segment, int unit, int layer);
  // What follows is a forward that ran before: its segments are the (R) ones, its parameters those
  // that are there, and its ops count nothing twice.
  void again(bool on) { again_ = on; }
  void stream(StreamKind s) { stream_ = s; }
  void row_proportional(bool on) { row_proportional_ = on; }

  TensorId tensor(std::string name, Dtype dtype, int64_t rows, int64_t cols,
                  BufferKind kind = BufferKind::kActivations);
  // [rows of the router's choice, cols], as balanced routing would make it.
  TensorId dynamic_tensor(std::string name, Dtype dtype, DynamicRows rows, int64_t cols);
  int64_t balanced(DynamicRows rows) const {
    return rows == DynamicRows::kArrived ? rows_.arrived : rows_.expanded;
  }
  ParamId param(std::string name, Dtype dtype, int64_t rows, int64_t cols);
  ParamId norm_param(std::string name, int64_t cols);
  // Matrices of the local experts, each [rows, cols].
  ParamId expert_param(std::string name, int64_t rows, int64_t cols);
  // State that ops update and the optimizer leaves alone, FP32 [1, cols], zero at first. `saved`:
  // part of the model.
  ParamId buffer(std::string name, int64_t cols, bool saved);
  // Returned for what few ops need; valid until the next op.
  Op& op(OpKind kind, std::string name, OpShape shape, std::vector<TensorId> inputs,
         std::vector<TensorId> outputs, ParamId param = {});
  Op& last_op() { return graph_.ops.back(); }
  // Ops with one result, which they allocate.
  TensorId map(OpKind kind, std::string name, std::vector<TensorId> inputs, Dtype dtype,
               int64_t rows, int64_t cols, ParamId param = {});
  TensorId dynamic_map(OpKind kind, std::string name, std::vector<TensorId> inputs, Dtype dtype,
                       DynamicRows rows, int64_t cols);
  // A BF16 product of weight-sized operands: C of shape.m x shape.n.
  void gemm(std::string name, GemmLayout layout, OpShape shape, std::vector<TensorId> inputs,
            std::vector<TensorId> outputs, ParamId weight);

  // A linear layer y[rows, out] = x[rows, in] · Wᵀ in the plan's precision.
  struct Linear {
    std::string name;
    ParamId weight;
    int64_t in = 0, out = 0;
  };
  bool fp8() const { return config_.plan.precision == Precision::kFp8; }
  Dtype operand_dtype() const { return fp8() ? Dtype::kFp8Row : Dtype::kBf16; }
  Dtype weight_dtype() const { return fp8() ? Dtype::kFp8Block : Dtype::kBf16; }
  Linear linear(const std::string& name, int64_t in, int64_t out);
  // The operand that a linear layer reads: x cast to FP8, or x itself.
  TensorId operand(const std::string& name, TensorId x);
  TensorId linear_forward(const Linear& l, TensorId x, const char* role = "fwd");
  TensorId linear_forward_operand(const Linear& l, TensorId x, const char* role = "fwd");
  TensorId linear_dgrad(const Linear& l, TensorId dy);
  // What the weight gradient reads later: transposed FP8 copies of x and dy, or x and dy.
  std::pair<TensorId, TensorId> prepare_wgrad(const Linear& l, TensorId x, TensorId dy);
  TensorId transposed_operand(const std::string& name, TensorId x, int64_t cols);
  void linear_wgrad(const Linear& l, std::pair<TensorId, TensorId> operands);

  TensorId rms_norm(const std::string& name, TensorId x, ParamId weight);
  // Norm of x plus the addends; x becomes the sum.
  TensorId rms_norm_add(const std::string& name, TensorId& x, const Addends& add, ParamId weight);
  // x plus the addends as an op of its own.
  TensorId add(const std::string& name, TensorId x, const Addends& add);
  // dx; adds `residual_grad` when valid. dy may be wider than x: its columns from `column` on.
  TensorId rms_norm_backward(const std::string& name, TensorId dy, TensorId x, ParamId weight,
                             TensorId residual_grad = {}, int64_t column = 0);

  StageGraph& graph() { return graph_; }
  StageGraph finish();

 private:
  GraphConfig config_;
  ExpertRows rows_;
  StageGraph graph_;
  SegmentKind segment_ = SegmentKind::kAttnF;
  int unit_ = 0;
  int layer_ = -1;
  StreamKind stream_ = StreamKind::kCompute;
  bool row_proportional_ = false;
  bool again_ = false;
};

// The graph of stage `stage` of the plan, boundaries included.
StageGraph build_stage(const GraphConfig& config, int64_t stage);

}  // namespace orrery
