// Assembles the graph of a stage from its units: transformer layers, then on the last stage the
// head and the MTP modules, each with a head of its own over the shared matrix. A first stage
// without layers has the embedding as a unit of its own.
#include <deque>
#include <numeric>

#include "sim/graph/activation_copies.h"
#include "sim/graph/head.h"
#include "sim/graph/written_gradients.h"

namespace orrery {
namespace {

struct LayerTape {
  AttentionTape attention;
  FfnTape ffn;
  MtpTape mtp;
  TensorId attention_mask, ffn_mask;  // of dropout
  bool moe = false;
  bool has_mtp_input = false;
};

struct Unit {
  bool head = false;
  bool embedding = false;
  int layer = -1;
  LayerTape tape;
  HeadTape head_tape;
};

class StageAssembler {
 public:
  StageAssembler(const GraphConfig& config, int64_t stage)
      : b_(config), config_(config), first_(stage == 0), last_(stage + 1 == config.plan.stages()) {
    const auto& split = config.plan.layers_per_stage;
    first_layer_ = std::accumulate(split.begin(), split.begin() + stage, int64_t{0});
    layers_ = split[static_cast<std::size_t>(stage)];
  }

  StageGraph build() {
    boundary_params();
    forward();
    backward();
    weights();
    transfers();
    StageGraph g = b_.finish();
    g.act_in = act_in_, g.act_out = act_out_, g.grad_in = grad_in_, g.grad_out = grad_out_;
    g.units = static_cast<int>(units_.size());
    g.sums_after_weights = config_.stack.sums_after_weight_gradients;
    g.recompute_from = std::move(recompute_from_);
    return g;
  }

  // What the layers' forwards left.
  const ModuleTensors& modules() const { return modules_; }

 private:
  const ModelSpec& model() const { return config_.model; }
  int next_unit() const { return static_cast<int>(units_.size()); }

  void boundary_params() {
    const bool tied = model().tied_embeddings;
    if (first_ || (last_ && (tied || model().mtp_layers > 0)))
      embedding_ = vocabulary_param(b_, std::string(kEmbeddingParam));
    if (first_ && model().position == PositionKind::kLearned)
      positions_ = b_.param(std::string(kPositionsParam), Dtype::kBf16,
                            model().max_position_embeddings, model().hidden);
    if (last_) head_ = tied ? embedding_ : vocabulary_param(b_, std::string(kHeadParam));
  }

  TensorId boundary(const char* name, int64_t rows) {
    return b_.tensor(name, Dtype::kBf16, rows, model().hidden, BufferKind::kCommunication);
  }

  // Ranks of a tensor-parallel group that all hold the boundary's rows send a part each, and those
  // that receive gather them (arXiv 2104.04473, section 4.1).
  bool sends_parts() const { return b_.tensor_parallel() > 1 && !config_.plan.splits_rows(); }

  int64_t transferred_rows() const {
    return sends_parts() ? b_.tokens() / b_.tensor_parallel() : b_.stream_rows();
  }

  // What arrives, in `received`, and all its rows.
  TensorId arrival(const char* name, TensorId& received) {
    received = boundary(name, transferred_rows());
    return sends_parts() ? b_.tensor_all_gather(name, received) : received;
  }

  void layer_forward(Unit& u, int index, TensorId& x, Addends& add) {
    LayerTape& t = u.tape;
    add = b_.dropout("attention dropout", StageBuilder::Dropout::kAttention,
                     attention_forward(b_, x, add, u.layer, t.attention), t.attention_mask);
    if (model().block != BlockForm::kSequential) {
      parallel_ffn_forward(u, index, x, add);
    } else {
      add = t.moe ? ffn_moe_forward(b_, x, add, t.ffn, index, u.layer)
                  : ffn_dense_forward(b_, x, add, t.ffn, index, u.layer);
      if (model().dropout > 0) b_.stream(StreamKind::kCompute);
      add = b_.dropout("ffn dropout", StageBuilder::Dropout::kFfn, add, t.ffn_mask);
    }
  }

  // Reads what the attention block reads; both outputs go to the residual stream.
  void parallel_ffn_forward(Unit& u, int index, TensorId x, Addends& add) {
    FfnTape& t = u.tape.ffn;
    t.shares_norm = model().block == BlockForm::kParallelOneNorm;
    if (t.shares_norm) {
      t.norm = u.tape.attention.norm;
      t.input = u.tape.attention.input;
      t.normed = u.tape.attention.forward_normed;
    }
    const Addends out =
        b_.dropout("ffn dropout", StageBuilder::Dropout::kFfn,
                   ffn_dense_forward(b_, x, {}, t, index, u.layer), u.tape.ffn_mask);
    add.insert(add.end(), out.begin(), out.end());
  }

  Unit& add_layer(int64_t layer, bool moe) {
    units_.emplace_back();
    units_.back().layer = static_cast<int>(layer);
    units_.back().tape.moe = moe;
    return units_.back();
  }

  void add_head(TensorId x, const Addends& add, int layer, int depth) {
    const int index = next_unit();
    units_.emplace_back();
    units_.back().head = true;
    head_forward(b_, x, add, head_, units_.back().head_tape, index, layer, depth);
  }

  TensorId first_input() {
    const TensorId x = embedding_forward(b_, embedding_, 0, ids_);
    if (positions_.valid()) positions_forward(b_, x, positions_);
    return b_.dropout("embedding dropout", StageBuilder::Dropout::kEmbedding, {x},
                      embedding_mask_)[0];
  }

  void forward() {
    TensorId x;
    Addends add;
    for (int64_t i = 0; i < layers_; ++i) {
      const int64_t layer = first_layer_ + i;
      const int index = next_unit();
      Unit& u = add_layer(layer, model().is_moe_layer(layer));
      b_.begin(SegmentKind::kAttnF, index, u.layer);
      if (i == 0) x = first_ ? first_input() : arrival("act in", act_in_);
      layer_forward(u, index, x, add);
      modules_.add(u.tape.attention, u.tape.ffn, u.tape.moe);
    }
    if (layers_ == 0 && !first_) {
      b_.begin(SegmentKind::kHeadF, 0, -1);
      x = arrival("act in", act_in_);
    }
    if (last_) {
      heads_and_mtp(x, add);
    } else if (layers_ == 0) {
      embedding_alone();
    } else {
      finish_stage(x, add);
    }
  }

  // Its rows are what the stage sends.
  void embedding_alone() {
    units_.emplace_back();
    units_.back().embedding = true;
    b_.begin(SegmentKind::kAttnF, 0, -1);
    act_out_ = first_input();
    b_.graph().tensors[act_out_.v].kind = BufferKind::kCommunication;
  }

  // The last sum of the stage belongs to the stream that the combine ran on, so that the compute
  // stream need not wait for it.
  void finish_stage(TensorId x, const Addends& add) {
    if (!units_.empty() && units_.back().tape.moe && config_.plan.expert_parallel > 1)
      b_.stream(StreamKind::kAllToAll);
    const Tensor t = b_.graph().tensors[x.v];
    act_out_ = boundary("act out", b_.stream_rows());
    std::vector<TensorId> in = {x};
    in.insert(in.end(), add.begin(), add.end());
    b_.op(OpKind::kAdd, "stage output", {.m = t.rows, .n = t.cols}, std::move(in), {act_out_});
  }

  void heads_and_mtp(TensorId x, Addends add) {
    // The MTP module reads the same residual stream as the head, before the final norm.
    TensorId trunk = x;
    if (model().mtp_layers > 0) trunk = b_.add("trunk output", x, add), add.clear();
    add_head(trunk, add, -1, 0);
    for (int64_t d = 0; d < model().mtp_layers; ++d) {
      const int index = next_unit();
      Unit& u = add_layer(model().layers + d, model().experts > 0);
      u.tape.has_mtp_input = true;
      b_.begin(SegmentKind::kAttnF, index, u.layer);
      const int depth = static_cast<int>(d) + 1;
      TensorId h = mtp_input_forward(b_, trunk, embedding_, depth, u.tape.mtp);
      Addends out;
      layer_forward(u, index, h, out);
      modules_.add(u.tape.attention, u.tape.ffn, u.tape.moe);
      trunk = b_.add("mtp output", h, out);
      add_head(trunk, {}, units_[static_cast<std::size_t>(index)].layer, depth);
    }
  }

  // Whether the forward of a unit runs again, and whether that starts from an input of its own.
  bool recomputed(int index) const {
    const Recompute& r = config_.plan.recompute;
    const Unit& u = units_[static_cast<std::size_t>(index)];
    const bool layer = !u.head && !u.embedding;
    return layer && (r.every_second_product || r.full == FullRecompute::kUniform ||
                     (r.full == FullRecompute::kBlock && index < r.full_layers));
  }
  bool starts_group(int index) const {
    return config_.plan.recompute.full != FullRecompute::kUniform ||
           index % config_.plan.recompute.full_layers == 0 || index >= static_cast<int>(layers_);
  }
  bool ends_group(int index) const {
    return index + 1 == next_unit() || !recomputed(index + 1) || starts_group(index + 1);
  }

  // Before the backward of the last layer of a group: the forward of its layers from the residual
  // stream that entered the first. What their first forward kept is then read by nobody.
  void recompute(int last) {
    if (!recomputed(last) || !ends_group(last)) return;
    int first = last;
    while (!starts_group(first)) --first;
    recompute_from_[static_cast<std::size_t>(last)] = first;
    b_.again(true);
    TensorId x = units_[static_cast<std::size_t>(first)].tape.attention.input;
    Addends add;
    for (int i = first; i <= last; ++i) {
      Unit& u = units_[static_cast<std::size_t>(i)];
      u.tape.attention = {};
      u.tape.ffn = {};
      b_.begin(SegmentKind::kAttnF, i, u.layer);
      const std::size_t first_op = b_.graph().ops.size();
      layer_forward(u, i, x, add);
      if (b_.again_selected() && config_.stack.keeps_unread_products)
        b_.graph().ops[first_op].keeps = b_.last_kept_product(i);
    }
    b_.again(false);
  }

  TensorId layer_backward(Unit& u, int index, TensorId dy) {
    LayerTape& t = u.tape;
    TensorId dx;
    if (t.moe) {
      dx = ffn_moe_backward(b_, dy, t.ffn_mask, t.ffn, index, u.layer);
    } else {
      dx = ffn_dense_backward(b_, dy, t.ffn_mask, t.ffn, index, u.layer);
      b_.begin(SegmentKind::kAttnB, index, u.layer);
    }
    const bool sequential = model().block == BlockForm::kSequential;
    const TensorId branch =
        b_.dropout_backward("attention dropout bwd", sequential ? dx : dy, t.attention_mask);
    TensorId residual = dx, normed_grad;
    if (model().block == BlockForm::kParallelOneNorm) {
      t.attention.normed = t.ffn.normed;
      residual = dy, normed_grad = dx;
    }
    const TensorId dnormed = attention_backward(b_, branch, t.attention);
    if (norm_waits(u, index)) b_.begin(SegmentKind::kNormB, index, u.layer);
    dy = attention_norm_backward(b_, dnormed, residual, normed_grad, t.attention);
    return t.has_mtp_input ? mtp_input_backward(b_, dy, embedding_, t.mtp) : dy;
  }

  // With tensor parallelism the sum of an attention block's input gradients travels beside its
  // weight gradients, or after them; the norm's backward, which reads it, comes then.
  bool norm_waits(const Unit& u, int index) const {
    return b_.tensor_parallel() > 1 && index > 0 && !u.tape.has_mtp_input &&
           !units_[static_cast<std::size_t>(index - 1)].head;
  }

  void backward() {
    recompute_from_.assign(units_.size(), -1);
    TensorId dy;
    for (int i = next_unit() - 1; i >= 0; --i) {
      Unit& u = units_[static_cast<std::size_t>(i)];
      if (u.head) {
        const TensorId dx = head_backward(b_, u.head_tape, i);
        dy = dy.valid() ? b_.add("add head grad", dx, {dy}) : dx;
      } else if (u.embedding) {
        b_.begin(SegmentKind::kAttnB, i, u.layer);
        dy = arrival("grad in", grad_in_);
      } else {
        recompute(i);
        if (!dy.valid()) {
          b_.begin(u.tape.moe ? SegmentKind::kCombineB : SegmentKind::kMlpB, i, u.layer);
          dy = arrival("grad in", grad_in_);
        }
        dy = layer_backward(u, i, dy);
      }
    }
    if (first_) {
      dy = b_.dropout_backward("embedding dropout bwd", dy, embedding_mask_);
      if (positions_.valid()) positions_backward(b_, dy, positions_);
      embedding_backward(b_, dy, ids_, embedding_);
    } else {
      grad_out_ = dy;
      b_.graph().tensors[dy.v].kind = BufferKind::kCommunication;
    }
  }

  void weights() {
    for (int i = next_unit() - 1; i >= 0; --i) {
      Unit& u = units_[static_cast<std::size_t>(i)];
      if (u.head) {
        head_wgrad(b_, u.head_tape, i);
        continue;
      }
      if (u.embedding) continue;
      b_.begin(SegmentKind::kMlpW, i, u.layer);
      linear_wgrads(b_, u.tape.ffn.wgrads);
      if (u.tape.moe) expert_wgrads(b_, u.tape.ffn);
      b_.begin(SegmentKind::kAttnW, i, u.layer);
      linear_wgrads(b_, u.tape.attention.wgrads);
      linear_wgrads(b_, u.tape.mtp.wgrads);
    }
  }

  void transfer(SegmentKind segment, StreamKind stream, OpKind kind, const char* name, TensorId t) {
    if (!t.valid()) return;
    b_.begin(segment, 0, -1);
    b_.stream(stream);
    const Tensor& boundary = b_.graph().tensors[t.v];
    const OpShape shape{.m = transferred_rows(), .n = boundary.bytes.count() / boundary.rows};
    const bool send = kind == OpKind::kSend;
    b_.op(kind, name, shape, send ? std::vector{t} : std::vector<TensorId>{},
          send ? std::vector<TensorId>{} : std::vector{t});
  }

  void transfers() {
    transfer(SegmentKind::kRecvF, StreamKind::kRecvForward, OpKind::kRecv, "recv activations",
             act_in_);
    transfer(SegmentKind::kSendF, StreamKind::kSendForward, OpKind::kSend, "send activations",
             act_out_);
    transfer(SegmentKind::kRecvB, StreamKind::kRecvBackward, OpKind::kRecv, "recv gradients",
             grad_in_);
    transfer(SegmentKind::kSendB, StreamKind::kSendBackward, OpKind::kSend, "send gradients",
             grad_out_);
  }

  StageBuilder b_;
  const GraphConfig& config_;
  bool first_, last_;
  int64_t first_layer_ = 0, layers_ = 0;
  std::deque<Unit> units_;
  std::vector<int> recompute_from_;
  ModuleTensors modules_;
  ParamId embedding_, positions_, head_;
  TensorId embedding_mask_;
  TensorId ids_, act_in_, act_out_, grad_in_, grad_out_;
};

}  // namespace

StageGraph build_stage(const GraphConfig& config, int64_t stage) {
  StageAssembler assembler(config, stage);
  StageGraph g = assembler.build();
  mark_written_gradients(config, g);
  return with_activation_copies(config, std::move(g), assembler.modules(),
                                stage + 1 == config.plan.stages());
}

}  // namespace orrery
