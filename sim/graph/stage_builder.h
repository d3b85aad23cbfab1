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
  // One row per (token, local expert), each expert padded to 128 on average; with a capacity at
  // most that of each rank's tokens, or just that with padding (RouterSpec).
  int64_t expanded = 0;
  int64_t arrived = 0;   // one row per token that chose at least one local expert
  int64_t gathered = 0;  // those of the expert-tensor-parallel group together
  // Rows that a rank sends, counting those that it sends itself: its tokens times their nodes (the
  // own one may be among them), or times their experts (TokenDispatch), within their capacity.
  int64_t sent = 0;
};
// Balanced routing over `top_groups` of the model's expert groups. Expected distinct ranks of a
// token: r·(1 - C(E_r - e, k)/C(E_r, k)) with r ranks holding the E_r reachable experts, e a rank.
ExpertRows expert_rows(const GraphConfig& c);

Phase phase_of(SegmentKind s);

// Block outputs not yet added to the residual stream: the next norm adds them on its way.
using Addends = std::vector<TensorId>;

class StageBuilder {
 public:
  explicit StageBuilder(const GraphConfig& config);
  // Appends to a finished graph.
  StageBuilder(const GraphConfig& config, StageGraph graph);

  const GraphConfig& config() const { return config_; }
  const ModelSpec& model() const { return config_.model; }
  int64_t tokens() const { return config_.plan.tokens_per_rank(); }
  // Rows of the residual stream: all tokens, or with sequence parallelism this rank's part.
  int64_t stream_rows() const { return config_.plan.rows_per_rank(); }
  int64_t tensor_parallel() const { return config_.plan.tensor_parallel; }
  // This rank's heads.
  int64_t heads() const { return config_.model.heads / tensor_parallel(); }
  int64_t kv_heads() const { return config_.model.kv_heads / tensor_parallel(); }
  const ExpertRows& rows() const { return rows_; }

  // Where the next ops go; on with the segment when it is the last one.
  void begin(SegmentKind segment, int unit, int layer);
  // What follows is a forward that ran before: its segments are the (R) ones, its parameters those
  // that are there, and its ops count nothing twice.
  void again(bool on);
  // Whether that is of every second product alone: what its first forward kept is taken from there.
  bool again_selected() const { return again_ && config_.plan.recompute.every_second_product; }
  // What the attention core of this unit's first forward left, to be kept for a selected second.
  std::vector<TensorId>& kept_core() { return kept_[static_cast<std::size_t>(unit_)].core; }
  // The result of the last product of a unit's first forward that is kept for a selected second.
  TensorId last_kept_product(int unit) const;
  // Gate and up, and q, k and v, as products of their own.
  bool separate_projections() const {
    return config_.stack.separate_projections && !fp8() && model().experts == 0;
  }
  void stream(StreamKind s) { stream_ = s; }
  void row_proportional(bool on) { row_proportional_ = on; }
  void in_epilogue(bool on) { in_epilogue_ = on; }
  // The experts' activation and the casts after it are part of their products.
  bool fuses_expert_epilogues() const {
    return config_.stack.fused_expert_epilogues && casts_both_ways(precision());
  }

  TensorId tensor(std::string name, Dtype dtype, int64_t rows, int64_t cols,
                  BufferKind kind = BufferKind::kActivations);
  // [rows of the router's choice, cols], as balanced routing would make it.
  TensorId dynamic_tensor(std::string name, Dtype dtype, DynamicRows rows, int64_t cols);
  int64_t balanced(DynamicRows rows) const {
    if (rows == DynamicRows::kGathered) return rows_.gathered;
    return rows == DynamicRows::kArrived ? rows_.arrived : rows_.expanded;
  }
  ParamId param(std::string name, Dtype dtype, int64_t rows, int64_t cols);
  // Vectors that start at 0: biases and attention sinks.
  ParamId bias_param(std::string name, int64_t cols);
  // This rank's shard of a matrix, or of a vector that starts at 0; rows and cols are the shard's,
  // shard.first too.
  ParamId sharded_param(std::string name, Dtype dtype, int64_t rows, int64_t cols,
                        ParamShard shard);
  ParamId sharded_bias_param(std::string name, int64_t cols, int64_t first = 0);
  // Matrices of the local experts, each [rows, cols] on this rank.
  ParamId expert_param(std::string name, int64_t rows, int64_t cols, ParamShard shard);
  // A vector for each local expert, zero at first.
  ParamId expert_bias_param(std::string name, int64_t cols);
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

  // The same of operands in the recipe's format.
  void product(std::string name, GemmLayout layout, OpShape shape, std::vector<TensorId> inputs,
               std::vector<TensorId> outputs, ParamId weight);

  // A linear layer y[rows, out] = x[rows, in] · Wᵀ + bias in the plan's precision. With tensor
  // parallelism (arXiv 1909.08053) it is whole on every rank, or column-parallel, the outputs split
  // (`in` and `out` are the rank's), or row-parallel, the inputs split, so that products are
  // partial sums, to which the first rank's product adds the bias.
  enum class Split : uint8_t { kNone, kColumn, kRow };
  struct Linear {
    std::string name;
    ParamId weight;
    int64_t in = 0, out = 0;
    ParamId bias;  // invalid: none
    Split split = Split::kNone;
  };
  // Of the products of the current layer.
  Precision precision() const;
  bool fp8() const { return precision() == Precision::kFp8; }
  bool casts() const { return casts_operands(precision()); }
  Dtype operand_dtype() const { return orrery::operand_dtype(precision()); }
  Dtype weight_dtype() const { return orrery::weight_dtype(precision()); }
  // What tokens travel in between experts.
  Dtype payload_dtype() const { return fp8() ? operand_dtype() : Dtype::kBf16; }
  TensorId payload(const std::string& name, TensorId x) { return fp8() ? operand(name, x) : x; }
  // `in`, `out` and `first` are those of the whole layer; `first`: outputs of the first of two
  // matrices that are split each on its own.
  Linear linear(const std::string& name, int64_t in, int64_t out, bool bias = false);
  Linear column_linear(const std::string& name, int64_t in, int64_t out, bool bias = false,
                       int64_t first = 0);
  Linear row_linear(const std::string& name, int64_t in, int64_t out, bool bias = false);
  // The operand that a linear layer reads: x cast to the recipe's format, or x itself when that is
  // BF16 or x has been cast. A recipe that casts both ways also leaves the weight gradient's.
  TensorId operand(const std::string& name, TensorId x);
  // From the rank's rows to those of all ranks, x itself without sequence parallelism.
  TensorId gather_rows(const std::string& name, TensorId x);
  // The sum of the ranks' partial sums: of all rows, or with sequence parallelism of the rank's;
  // x itself without tensor parallelism.
  TensorId reduce_partial(const std::string& name, TensorId x);
  // Stacked one after the other, what all ranks of the tensor-parallel group have.
  TensorId tensor_all_gather(const std::string& name, TensorId x);
  // Products of column-parallel layers with all ranks' rows of one operand.
  std::vector<TensorId> column_forward(const std::vector<Linear>& layers, TensorId operand);
  // Column-parallel: gathers x. Row-parallel: reduces the result.
  TensorId linear_forward(const Linear& l, TensorId x, const char* role = "fwd");
  TensorId linear_forward_operand(const Linear& l, TensorId x, const char* role = "fwd");
  // Whether the next product of a second forward is one whose first result was kept.
  bool next_product_kept(const Linear& l) const;
  // Of a row-parallel layer: its input gradient, and dy of all rows, which the weight gradient
  // reads.
  struct RowGrad {
    TensorId dx, dy;
  };
  RowGrad row_dgrad(const Linear& l, TensorId dy);
  // Also adds to the bias's gradient. Row-parallel: dy has been gathered. Column-parallel: the
  // result is to be reduced.
  TensorId linear_dgrad(const Linear& l, TensorId dy);
  // What the weight gradient reads later, of all rows: transposed FP8 copies of x and dy, or x and
  // dy.
  std::pair<TensorId, TensorId> prepare_wgrad(const Linear& l, TensorId x, TensorId dy);
  // Of x [rows, cols] along its rows: cast and transposed, or x itself.
  TensorId transposed_operand(const std::string& name, TensorId x, int64_t cols);
  void linear_wgrad(const Linear& l, std::pair<TensorId, TensorId> operands);

  // A norm of rows, or of each of the `heads` parts of a row.
  struct Norm {
    std::string name;
    ParamId weight, bias;
    bool layer_norm = false;
    int64_t heads = 1;
  };
  // The model's norm of [rows, cols], with parameters "name.weight" and "name.bias".
  Norm model_norm(const std::string& name, int64_t cols);
  Norm rms_norm(const std::string& name, int64_t cols, int64_t heads = 1);
  // Of each of this rank's heads, with one weight for all heads of all ranks.
  Norm head_norm(const std::string& name, int64_t cols, int64_t heads);
  TensorId norm(const Norm& n, TensorId x, const char* role = "");
  // Norm of x plus the addends; x becomes the sum.
  TensorId norm_add(const Norm& n, TensorId& x, const Addends& add);
  // x plus the addends as an op of its own.
  TensorId add(const std::string& name, TensorId x, const Addends& add);
  // dx; adds `residual_grad` when valid. dy may be wider than x: its columns from `column` on.
  TensorId norm_backward(const Norm& n, TensorId dy, TensorId x, TensorId residual_grad = {},
                         int64_t column = 0);

  enum class Dropout : uint8_t { kAttention, kFfn, kEmbedding };
  // The sum of `add` with some elements left out and the rest scaled up, as `model().dropout` says;
  // `add` itself without dropout. `mask` is what the backward reads.
  Addends dropout(const std::string& name, Dropout which, const Addends& add, TensorId& mask);
  TensorId dropout_backward(const std::string& name, TensorId dy, TensorId mask);

  StageGraph& graph() { return graph_; }
  StageGraph finish();

 private:
  TensorId collective(OpKind kind, const std::string& name, TensorId x, int64_t rows);
  TensorId product_forward(const Linear& l, TensorId x, const char* role);
  TensorId keep_product(TensorId y);

  // The copies of a tensor that a recipe casts both ways (sim/graph/recipe.cpp); `rows` is invalid
  // when only the other one was needed.
  struct Copies {
    TensorId of, rows, columns;
  };
  Copies cast_both(const std::string& name, TensorId x);
  void amax(const std::string& name, TensorId x);

  GraphConfig config_;
  ExpertRows rows_;
  StageGraph graph_;
  SegmentKind segment_ = SegmentKind::kAttnF;
  int unit_ = 0;
  int layer_ = -1;
  std::vector<Copies> copies_;
  // Of the first forward of a unit, for a selected second one.
  struct Kept {
    std::vector<TensorId> products, core;
  };
  std::vector<Kept> kept_;
  std::size_t product_ = 0;                              // the unit's next
  std::vector<std::pair<TensorId, TensorId>> gathered_;  // by a selected second forward
  StreamKind stream_ = StreamKind::kCompute;
  bool row_proportional_ = false;
  bool in_epilogue_ = false;
  bool again_ = false;
};

// The graph of stage `stage` of the plan, boundaries included.
StageGraph build_stage(const GraphConfig& config, int64_t stage);

}  // namespace orrery
