// The GPU backend against the CPU backend, on the same plan, weights and tokens.
#include "runtime/cuda/cuda_rank.h"

#include <cmath>

#include "runtime/cuda/fake_groups.h"
#include "tests/catch.h"
#include "tests/gpu/local_ranks.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {
namespace {

// Every token goes to every expert: with a choice, rounding would flip some, and each flip moves
// the gradients more than rounding does.
Layout aligned(std::vector<std::string> more) {
  std::vector<std::string> all = {"/model/qk_rope_head_dim=16", "/plan/sequence_length=16",
                                  "/model/num_experts_per_tok=8", "/model/topk_group=4",
                                  "/model/initializer_range=0.05"};
  all.insert(all.end(), more.begin(), more.end());
  return {.more = std::move(all)};
}

struct Difference {
  std::string name;
  double l2, largest;  // relative
};

// Per parameter: |a - b| over |b|.
std::vector<Difference> differences(const ExecPlan& plan, const OptimizerShare& s,
                                    const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<Difference> out;
  const StageGraph& g = plan.stages[static_cast<std::size_t>(s.stage)];
  for (std::size_t i = 0; i < s.params.size(); ++i) {
    const Param& p = g.params[s.params[i].v];
    double square = 0, norm = 0, worst = 0, peak = 0;
    for (int64_t e = 0; e < p.count(); ++e) {
      const auto at = static_cast<std::size_t>(s.offsets[i] + e);
      const double x = a[at], y = b[at];
      square += (x - y) * (x - y);
      norm += y * y;
      worst = std::max(
          worst, std::isfinite(x) ? std::abs(x - y) : std::numeric_limits<double>::infinity());
      peak = std::max(peak, std::abs(y));
    }
    out.push_back({fmt::format("{}@{}", p.name, p.layer), std::sqrt(square / (norm + 1e-30)),
                   worst / (peak + 1e-30)});
  }
  return out;
}

// The gradients of a rank's shares before clipping.
void same_gradients(const ExecPlan& plan, CudaRank& gpu, CpuRank<float>& cpu, double tolerance) {
  const auto& shares = cpu.layout().rank_class().shares;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const CudaWeights::Share& s = gpu.weights().shares()[i];
    // Whole arrays, of which other owners' shards mean nothing.
    std::vector<float> mine(static_cast<std::size_t>(shares[i].elements), 0), theirs = mine;
    cuda_check(cudaMemcpy(mine.data() + s.begin, s.kept_gradients.as<float>(),
                          s.kept_gradients.bytes(), cudaMemcpyDeviceToHost),
               "reading gradients");
    const auto& reduced = cpu.reduced_gradients(static_cast<int>(i));
    std::copy(reduced.begin(), reduced.end(), theirs.begin() + s.begin);
    for (const Difference& d : differences(plan, shares[i], mine, theirs)) {
      INFO(d.name << ": relative L2 " << d.l2 << ", largest " << d.largest);
      CHECK(d.l2 < tolerance);
    }
  }
}

void same_as_cpu(TinyJob<float> cpu, double tolerance) {
  LocalRanks gpu(cpu.plan, cpu.graph, cpu.constants,
                 {.seed = 1234, .keep_gradients = true, .record = false});
  const HashTokens tokens(cpu.study.model.vocab);
  for (int step = 1; step <= 3; ++step) {
    OptimizerStep o;
    o.step = step;
    o.lr = 1e-3;
    const auto first = static_cast<uint64_t>((step - 1) * cpu.study.plan.global_batch);
    const StepResult a = gpu.step({&tokens, first}, o);
    const StepResult b = cpu.job.step({&tokens, first}, o);
    INFO("step " << step);
    REQUIRE(a.losses.size() == b.losses.size());
    for (std::size_t d = 0; d < a.losses.size(); ++d)
      CHECK(a.losses[d] == Approx(b.losses[d]).epsilon(0.01));
    CHECK(a.grad_norm == Approx(b.grad_norm).epsilon(tolerance));
    if (step > 1) continue;  // later gradients are of weights that already differ
    for (int64_t r = 0; r < cpu.plan.ranks(); ++r) {
      INFO("rank " << r);
      same_gradients(cpu.plan, gpu.rank(r), cpu.job.rank(r), tolerance);
    }
  }
}

void same_as_cpu(const Layout& l, CpuNumerics mode, double tolerance) {
  INFO(l.name());
  same_as_cpu(TinyJob<float>(l, mode), tolerance);
}

TEST_CASE("cuda rank: BF16 gradients are the CPU backend's", "[gpu]") {
  same_as_cpu(aligned({}), CpuNumerics::kExact, 0.05);
  same_as_cpu(aligned({"/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}),
              CpuNumerics::kExact, 0.05);
}

TEST_CASE("cuda rank: GPT and GPT-NeoX blocks are the CPU backend's", "[gpu]") {
  const std::string common =
      R"(/model={"model_type":"orrery","hidden_size":64,"num_hidden_layers":4,"vocab_size":96,
      "norm":"layer_norm","norm_bias":true,"num_attention_heads":2,"qkv_bias":true,
      "attention_out_bias":true,"ffn_bias":true,"intermediate_size":256,)";
  same_as_cpu(aligned({common + R"("position":"learned","max_position_embeddings":32,
      "activation":"gelu","tie_word_embeddings":true})"}),
              CpuNumerics::kExact, 0.05);
  same_as_cpu(aligned({common + R"("position":"rope","rotary_dim":16,"block":"parallel",
      "activation":"gelu_tanh"})"}),
              CpuNumerics::kExact, 0.05);
  same_as_cpu(aligned({common + R"("position":"none","block":"parallel_one_norm",
      "activation":"squared_relu"})"}),
              CpuNumerics::kExact, 0.05);
}

TEST_CASE("cuda rank: FP8 gradients are those of the CPU's quantised numerics", "[gpu]") {
  same_as_cpu(aligned({"/plan/precision=fp8"}), CpuNumerics::kFakeQuant, 0.2);
  same_as_cpu(aligned({"/plan/precision=fp8", "/plan/moments=bf16",
                       "/plan/recompute={\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}),
              CpuNumerics::kFakeQuant, 0.2);
}

const std::vector<std::string> kSequenceParallel = {"/plan/sequence_parallel=true"};
const std::vector<std::string> kPipelined = {"/plan/sequence_parallel=true",
                                             "/plan/overlap_tensor_parallel=true"};

std::vector<std::string> with(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// With rows enough that the half of a rank is aligned too.
Layout tensor_parallel(Layout l) {
  l.tensor = 2;
  l.more = aligned(with({"/plan/sequence_length=32"}, l.more)).more;
  return l;
}

TEST_CASE("cuda rank: tensor parallelism with experts is the CPU backend's", "[gpu]") {
  same_as_cpu(tensor_parallel({.more = kSequenceParallel}), CpuNumerics::kExact, 0.05);
  same_as_cpu(tensor_parallel({.expert = 2, .more = kSequenceParallel}), CpuNumerics::kExact, 0.05);
  same_as_cpu(tensor_parallel({.data = 2, .expert = 4, .more = kSequenceParallel}),
              CpuNumerics::kExact, 0.05);
}

TEST_CASE("cuda rank: tensor parallelism in FP8 is the CPU's quantised numerics", "[gpu]") {
  for (const char* recompute : {"{}", "{\"norms\":true,\"mla_up\":true,\"swiglu\":true}"}) {
    const std::vector<std::string> fp8 = {"/plan/precision=fp8",
                                          std::string("/plan/recompute=") + recompute};
    for (const auto& rows : {kSequenceParallel, kPipelined})
      same_as_cpu(tensor_parallel({.expert = 2, .more = with(fp8, rows)}), CpuNumerics::kFakeQuant,
                  0.2);
  }
}

TEST_CASE("cuda rank: tensor parallelism of GPT and Llama blocks is the CPU backend's", "[gpu]") {
  const std::string common =
      R"(/model={"model_type":"orrery","hidden_size":64,"num_hidden_layers":4,"vocab_size":96,
      "head_dim":32,"intermediate_size":256,)";
  const std::string gpt =
      common + R"("num_attention_heads":2,"norm":"layer_norm","norm_bias":true,"qkv_bias":true,
      "attention_out_bias":true,"ffn_bias":true,"position":"learned",
      "max_position_embeddings":32,"activation":"gelu","tie_word_embeddings":true})";
  const std::string llama = common + R"("num_attention_heads":4,"num_key_value_heads":2,
      "norm":"rms_norm","qk_norm":true,"position":"rope","activation":"swiglu"})";
  for (const std::string& model : {gpt, llama}) {
    same_as_cpu(tensor_parallel({.more = {model}}), CpuNumerics::kExact, 0.05);
    same_as_cpu(tensor_parallel({.data = 2, .more = with({model}, kSequenceParallel)}),
                CpuNumerics::kExact, 0.05);
    same_as_cpu(tensor_parallel({.more = with({model}, kPipelined)}), CpuNumerics::kExact, 0.05);
  }
  same_as_cpu(tensor_parallel({.more = {llama, "/plan/precision=fp8"}}), CpuNumerics::kFakeQuant,
              0.2);
}

TEST_CASE("cuda rank: blocks of rows travel through four tensor-parallel ranks", "[gpu]") {
  const std::string model =
      R"(/model={"model_type":"orrery","hidden_size":64,"num_hidden_layers":2,"vocab_size":96,
      "head_dim":32,"intermediate_size":256,"num_attention_heads":4,"num_key_value_heads":4,
      "norm":"rms_norm","position":"rope","activation":"swiglu"})";
  Layout four = tensor_parallel({.more = with({model}, kPipelined)});
  four.tensor = 4;
  four.more.insert(four.more.end(), {"/plan/sequence_length=64", "/plan/layers_per_stage=[2]"});
  same_as_cpu(four, CpuNumerics::kExact, 0.05);
  four.more.push_back("/plan/precision=fp8");
  same_as_cpu(four, CpuNumerics::kFakeQuant, 0.2);
}

Layout experts_by_width(Layout l) {
  l.more.insert(l.more.end(), {"/plan/expert_tensor_parallel=2", "/plan/sequence_length=32"});
  l.more = aligned(l.more).more;
  return l;
}

TEST_CASE("cuda rank: experts split by width are the CPU backend's", "[gpu]") {
  same_as_cpu(experts_by_width({.data = 2}), CpuNumerics::kExact, 0.05);
  same_as_cpu(experts_by_width({.data = 4, .expert = 2}), CpuNumerics::kExact, 0.05);
  Layout tensor = experts_by_width({.more = kSequenceParallel});
  tensor.tensor = 2;
  same_as_cpu(tensor, CpuNumerics::kExact, 0.05);
  tensor.data = tensor.expert = 2;
  same_as_cpu(tensor, CpuNumerics::kExact, 0.05);
}

TEST_CASE("cuda rank: experts split by width in FP8 are the CPU's quantised numerics", "[gpu]") {
  for (const char* recompute : {"{}", "{\"norms\":true,\"mla_up\":true,\"swiglu\":true}"})
    same_as_cpu(experts_by_width(
                    {.data = 4,
                     .expert = 2,
                     .more = {"/plan/precision=fp8", std::string("/plan/recompute=") + recompute}}),
                CpuNumerics::kFakeQuant, 0.2);
}

// The router's choice leaves the ranks different numbers of rows; a choice that rounding flips
// moves gradients, so that only the losses are compared.
TEST_CASE("cuda rank: experts split by width get uneven rows", "[gpu]") {
  Layout l = experts_by_width({.data = 4, .expert = 2});
  l.more.insert(l.more.end(), {"/model/num_experts_per_tok=2", "/model/topk_group=2"});
  TinyJob<float> cpu(l);
  LocalRanks gpu(cpu.plan, cpu.graph, cpu.constants, {.seed = 1234});
  const HashTokens tokens(cpu.study.model.vocab);
  for (int step = 1; step <= 2; ++step) {
    OptimizerStep o;
    o.step = step;
    const auto first = static_cast<uint64_t>((step - 1) * cpu.study.plan.global_batch);
    const StepResult a = gpu.step({&tokens, first}, o), b = cpu.job.step({&tokens, first}, o);
    for (std::size_t d = 0; d < a.losses.size(); ++d)
      CHECK(a.losses[d] == Approx(b.losses[d]).epsilon(0.01));
  }
}

// With rows enough that the halves of a rank's part are aligned too.
Layout context_parallel(const std::string& kind, Layout l) {
  if (l.context == 1) l.context = 2;
  const std::vector<std::string> common = {"/plan/context_parallel_kind=" + kind,
                                           "/plan/sequence_length=64"};
  l.more = aligned(with(common, l.more)).more;
  return l;
}

const std::vector<std::string> kKinds = {"ring", "all_to_all"};

TEST_CASE("cuda rank: context parallelism is the CPU backend's", "[gpu]") {
  for (const std::string& kind : kKinds) {
    same_as_cpu(context_parallel(kind, {}), CpuNumerics::kExact, 0.05);
    same_as_cpu(context_parallel(kind, {.expert = 2, .more = {"/plan/micro_batch=2"}}),
                CpuNumerics::kExact, 0.05);
    same_as_cpu(context_parallel(kind, {.data = 2, .expert = 4}), CpuNumerics::kExact, 0.05);
  }
  same_as_cpu(context_parallel("ring", {.more = kSequenceParallel, .tensor = 2}),
              CpuNumerics::kExact, 0.05);
}

TEST_CASE("cuda rank: context parallelism in FP8 is the CPU's quantised numerics", "[gpu]") {
  for (const std::string& kind : kKinds)
    for (const char* recompute : {"{}", "{\"norms\":true,\"mla_up\":true,\"swiglu\":true}"})
      same_as_cpu(context_parallel(kind, {.more = {"/plan/precision=fp8",
                                                   std::string("/plan/recompute=") + recompute}}),
                  CpuNumerics::kFakeQuant, 0.2);
}

TEST_CASE("cuda rank: context parallelism of GPT and Llama blocks is the CPU backend's", "[gpu]") {
  const std::string common =
      R"(/model={"model_type":"orrery","hidden_size":64,"num_hidden_layers":4,"vocab_size":96,
      "head_dim":32,"intermediate_size":256,"num_attention_heads":4,)";
  const std::string gpt = common + R"("norm":"layer_norm","norm_bias":true,"qkv_bias":true,
      "attention_out_bias":true,"ffn_bias":true,"position":"learned",
      "max_position_embeddings":64,"activation":"gelu","tie_word_embeddings":true})";
  const std::string llama = common + R"("num_key_value_heads":2,"norm":"rms_norm",
      "position":"rope","activation":"swiglu"})";
  const std::string normed = common + R"("num_key_value_heads":2,"norm":"rms_norm",
      "qk_norm":true,"position":"rope","activation":"swiglu"})";
  const std::string again = R"(/plan/recompute={"full":"uniform"})";
  for (const std::string& kind : kKinds) {
    for (const std::string& model : {gpt, llama, normed})
      same_as_cpu(context_parallel(kind, {.more = {model, "/plan/micro_batch=2"}}),
                  CpuNumerics::kExact, 0.05);
    same_as_cpu(context_parallel(kind, {.more = {llama, again}}), CpuNumerics::kExact, 0.05);
    same_as_cpu(context_parallel(kind, {.data = 2, .more = {gpt}}), CpuNumerics::kExact, 0.05);
  }
  // Blocks of keys from ranks before and after.
  same_as_cpu(context_parallel("ring", {.more = {llama}, .context = 4}), CpuNumerics::kExact, 0.05);
  same_as_cpu(
      context_parallel("ring", {.more = with({gpt}, kSequenceParallel), .tensor = 2, .context = 2}),
      CpuNumerics::kExact, 0.05);
}

// The layouts against one rank, on the GPU alone.
TEST_CASE("cuda rank: losses of context and expert-tensor parallelism are one rank's", "[gpu]") {
  const auto losses = [](const Layout& l) {
    TinyJob<float> tiny(l);
    LocalRanks gpu(tiny.plan, tiny.graph, tiny.constants, {.seed = 1234});
    const HashTokens tokens(tiny.study.model.vocab);
    std::vector<double> all;
    for (int step = 1; step <= 3; ++step) {
      OptimizerStep o;
      o.step = step;
      const StepResult r = gpu.step({&tokens, static_cast<uint64_t>(8 * step)}, o);
      all.insert(all.end(), r.losses.begin(), r.losses.end());
    }
    return all;
  };
  const std::vector<double> one = losses(aligned({"/plan/sequence_length=64"}));
  Layout width{.data = 2, .more = {"/plan/expert_tensor_parallel=2", "/plan/sequence_length=64"}};
  width.more = aligned(width.more).more;
  for (const Layout& l :
       {context_parallel("ring", {}), context_parallel("all_to_all", {}), width}) {
    INFO(l.name());
    const std::vector<double> several = losses(l);
    REQUIRE(several.size() == one.size());
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(several[i] == Approx(one[i]).epsilon(0.002));
  }
}

TEST_CASE("cuda rank: Muon trains as the CPU backend does", "[gpu]") {
  same_as_cpu(aligned({"/plan/optimizer=muon"}), CpuNumerics::kExact, 0.05);
  same_as_cpu(aligned({"/plan/optimizer=muon", "/plan/precision=fp8", "/plan/moments=bf16"}),
              CpuNumerics::kFakeQuant, 0.2);
}

// Master weights of all shares after three steps.
std::vector<std::vector<float>> trained(std::vector<std::string> more) {
  TinyJob<float> tiny(aligned(std::move(more)));
  const HashTokens tokens(tiny.study.model.vocab);
  CudaRank gpu(tiny.plan, tiny.graph, tiny.constants, 0, {.seed = 7},
               std::vector<Collectives*>(tiny.plan.classes[0].communicators.size()));
  for (int step = 1; step <= 3; ++step) {
    OptimizerStep o;
    o.step = step;
    gpu.run_step({&tokens, static_cast<uint64_t>(8 * step)}, o);
  }
  std::vector<std::vector<float>> all;
  for (const CudaWeights::Share& s : gpu.weights().shares()) {
    all.emplace_back(s.master.bytes() / sizeof(float));
    s.master.read(all.back().data(), "reading master weights");
  }
  return all;
}

TEST_CASE("cuda rank: optimizer states in host memory change no bit", "[gpu]") {
  for (const char* optimizer : {"/plan/optimizer=adamw", "/plan/optimizer=muon"})
    for (const char* moments : {"/plan/moments=fp32", "/plan/moments=bf16"}) {
      INFO(optimizer << " " << moments);
      const auto here = trained({optimizer, moments});
      const auto there = trained({optimizer, moments, "/plan/offload_optimizer=true",
                                  "/plan/offload_chunk_parameters=1000"});
      CHECK((here == there));
    }
}

struct OffloadRun {
  std::vector<StepResult> steps;
  int64_t peak = 0;  // bytes of GPU memory
};

OffloadRun run_offloading(const Layout& l, bool offload, bool record) {
  Layout with = l;
  if (offload) with.more.push_back(R"(/plan/offload_activations={"min_tensor_elements":1})");
  const TinyJob<float> tiny(with);
  const HashTokens tokens(tiny.study.model.vocab);
  CudaRank gpu(tiny.plan, tiny.graph, tiny.constants, 0, {.seed = 7},
               std::vector<Collectives*>(tiny.plan.classes[0].communicators.size()));
  gpu.set_recording(record);
  OffloadRun run;
  for (int step = 1; step <= 4; ++step) {
    OptimizerStep o;
    o.step = step;
    o.lr = 1e-3;
    run.steps.push_back(gpu.run_step({&tokens, static_cast<uint64_t>(8 * step)}, o));
    run.peak = std::max(run.peak, gpu.memory().allocated_peak_bytes);
  }
  return run;
}

// With several micro-batches memory is used again, in host memory too, and most blocks of the run
// without copies are CUDA graphs.
TEST_CASE("cuda rank: activations in host memory change no bit and leave the GPU", "[gpu]") {
  const std::string longer = "/plan/sequence_length=512", gpipe = "/plan/schedule=gpipe";
  const std::string again = R"(/plan/recompute={"norms":true,"mla_up":true,"swiglu":true})";
  for (const Layout& l :
       {aligned({longer}), aligned({longer, gpipe}), aligned({longer, "/plan/precision=fp8"}),
        aligned({longer, gpipe, "/plan/precision=fp8", again}),
        aligned({longer, gpipe, R"(/plan/recompute={"full":"uniform"})"})})
    for (bool record : {false, true}) {
      INFO(l.name() << (record ? ", op by op" : ""));
      const OffloadRun here = run_offloading(l, false, record);
      const OffloadRun there = run_offloading(l, true, record);
      for (std::size_t s = 0; s < here.steps.size(); ++s) {
        CHECK(here.steps[s].losses == there.steps[s].losses);
        CHECK(here.steps[s].grad_norm == there.steps[s].grad_norm);
      }
      CHECK(there.peak < here.peak);
    }
}

TEST_CASE("cuda rank: two runs are the same bit for bit", "[gpu]") {
  const Layout l = aligned({"/plan/precision=fp8"});
  TinyJob<float> tiny(l);
  const HashTokens tokens(tiny.study.model.vocab);
  std::vector<StepResult> runs[2];
  for (auto& run : runs) {
    CudaRank gpu(tiny.plan, tiny.graph, tiny.constants, 0, {.seed = 7},
                 std::vector<Collectives*>(tiny.plan.classes[0].communicators.size()));
    for (int step = 1; step <= 3; ++step) {
      OptimizerStep o;
      o.step = step;
      run.push_back(gpu.run_step({&tokens, static_cast<uint64_t>(8 * step)}, o));
    }
  }
  for (std::size_t i = 0; i < runs[0].size(); ++i) {
    CHECK(runs[0][i].losses == runs[1][i].losses);
    CHECK(runs[0][i].grad_norm == runs[1][i].grad_norm);
  }
}

TEST_CASE("cuda rank: alone with a fake process group, as on the CPU", "[gpu]") {
  // Every token goes to every expert, so that rounding moves no rows. Not context parallelism by
  // all-to-all: there the CPU's peers bring the heads that this rank keeps, the GPU's return what
  // it sent.
  for (const Layout& l :
       {Layout{.data = 4, .expert = 4}, Layout{.pipeline = 2, .data = 2, .expert = 2},
        Layout{.pipeline = 2, .more = kSequenceParallel, .tensor = 2},
        Layout{.expert = 2, .more = kSequenceParallel, .tensor = 2}, Layout{.context = 2},
        Layout{.data = 4, .expert = 2, .more = {"/plan/expert_tensor_parallel=2"}}}) {
    Layout alone = l;
    alone.more = aligned(l.more).more;
    INFO(alone.name());
    TinyJob<float> cpu(alone);
    const int64_t rank = cpu.plan.ranks() - 1;
    CpuJob<float> job(cpu.plan, cpu.graph, cpu.constants, {CpuNumerics::kExact, 1234, false}, rank);
    const CollectiveGroups groups = fake_groups(cpu.plan, rank);
    std::vector<Collectives*> pointers;
    for (const auto& g : groups) pointers.push_back(g.get());
    CudaRank gpu(cpu.plan, cpu.graph, cpu.constants, rank, {.seed = 1234}, pointers);
    const HashTokens tokens(cpu.study.model.vocab);
    const StepResult a = gpu.run_step({&tokens, 0}, {});
    const StepResult b = job.step({&tokens, 0}, {});
    REQUIRE(a.losses.size() == b.losses.size());
    for (std::size_t d = 0; d < a.losses.size(); ++d)
      CHECK(a.losses[d] == Approx(b.losses[d]).epsilon(0.01));
    CHECK(a.grad_norm == Approx(b.grad_norm).epsilon(0.05));
  }
}

TEST_CASE("cuda rank: one micro-batch a step, whose gradients are written", "[gpu]") {
  for (const char* precision : {"/plan/precision=bf16", "/plan/precision=fp8"}) {
    StudySpec study = tiny_study(aligned({"/plan/micro_batch=8", precision}));
    study.stack.grouped_wgrad = study.stack.writes_gradients = study.stack.casts_in_optimizer =
        true;
    const bool fp8 = study.plan.precision == Precision::kFp8;
    same_as_cpu(TinyJob<float>(study, fp8 ? CpuNumerics::kFakeQuant : CpuNumerics::kExact),
                fp8 ? 0.2 : 0.05);
  }
}

}  // namespace
}  // namespace orrery
