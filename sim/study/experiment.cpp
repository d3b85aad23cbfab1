#include "sim/study/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "sim/base/json_write.h"
#include "sim/graph/op.h"
#include "sim/import/hf_config.h"
#include "sim/spec/profile_file.h"

namespace orrery {

const std::string_view kPhaseBasisNames[2] = {"plan", "flops"};

namespace {

namespace fs = std::filesystem;
using json::Node;
using json::Reader;

// Members that may name a file.
constexpr std::array<std::string_view, 8> kReferences = {
    "model", "cluster", "plan", "noise", "stack", "price", "training", "residuals"};

std::vector<PhaseSpec> read_phases(Reader& r, int64_t plan_sequence) {
  std::vector<PhaseSpec> phases;
  if (!r.has("phases")) return phases;
  r.objects("phases", [&](Reader& p) {
    PhaseSpec s;
    s.name = p.string("name");
    s.tokens = p.number("tokens", {1, 1e18});
    s.sequence_length = p.integer_or("sequence_length", plan_sequence, {1, 1 << 24});
    s.basis = static_cast<PhaseBasis>(p.choice_or("basis", 0, kPhaseBasisNames));
    s.note = p.string_or("note", "");
    if (s.basis == PhaseBasis::kPlan && s.sequence_length != plan_sequence)
      p.fail("sequence_length",
             fmt::format("found {}, but the phase's basis is \"plan\" and the plan's "
                         "sequence_length is {}; use basis \"flops\" or another experiment",
                         s.sequence_length, plan_sequence));
    p.finish();
    phases.push_back(std::move(s));
  });
  return phases;
}

std::vector<PublishedValue> read_published(Reader& r) {
  std::vector<PublishedValue> published;
  if (!r.has("published")) return published;
  r.objects("published", [&](Reader& p) {
    PublishedValue v;
    v.name = p.string("name");
    v.value = p.number("value");
    v.reference = p.string("reference");
    p.finish();
    published.push_back(std::move(v));
  });
  return published;
}

std::optional<ValidationSpec> read_validation(Reader& r) {
  if (!r.has("validation")) return std::nullopt;
  Reader v = r.object("validation");
  ValidationSpec s;
  s.family = v.string("family");
  s.fitted = v.boolean_or("fitted", false);
  s.group = v.string_or("group", "");
  s.missing = v.string_or("missing", "");
  v.finish();
  if (!r.has("published")) r.fail("validation", "there is no \"published\" figure to compare with");
  return s;
}

std::optional<Sourced> read_price(Reader& r) {
  if (!r.has("price")) return std::nullopt;
  Reader price = r.object("price");
  const Sourced usd = read_sourced(price, "usd_per_gpu_hour", {0.001, 1000});
  price.ignore("name");
  price.finish();
  return usd;
}

// The tables of a stack that have operators as keys.
void check_operators(Reader& r, const StackSpec& stack) {
  const auto check = [&](const char* table, const std::string& kind) {
    for (int k = 0; k < kOpKinds; ++k)
      if (kind == op_kind_name(static_cast<OpKind>(k)) &&
          op_resource(static_cast<OpKind>(k)) == Resource::kCompute)
        return;
    r.fail("stack", fmt::format("{} has \"{}\", which is no compute operator", table, kind));
  };
  for (const UnfusedOp& u : stack.unfused_ops) check("unfused_ops", u.kind);
  for (const KernelRate& k : stack.kernel_rates)
    if (k.kind != kCastTransposeOfFp8) check("kernel_rates", k.kind);
}

void check_attention_kernel(Reader& r, const StudySpec& s) {
  const GpuSpec& gpu = s.cluster.node.gpu;
  if (s.stack.unfused_attention()) {
    if (s.model.attention == AttentionKind::kMla)
      r.fail("stack", "attention_kernel is \"unfused\", which latent attention does not have");
    return;
  }
  const std::string kernel = s.stack.attention_kernel_name(s.plan.fp8_attention);
  if (attention_forward_kernel(gpu, kernel) != nullptr) return;
  std::string names;
  for (const AttentionKernels& k : gpu.attention_kernels)
    names += (names.empty() ? "only " : ", ") + k.name;
  if (s.plan.fp8_attention) {
    r.fail("plan", fmt::format("fp8_attention needs the kernels {}, but the profile of {} has {}",
                               kernel, gpu.name, names.empty() ? "no attention_kernels" : names));
    return;
  }
  r.fail("stack", fmt::format("attention_kernel is \"{}\", but the profile of {} has {}", kernel,
                              gpu.name, names.empty() ? "no attention_kernels" : names));
}

// The readers of these know every key and have a default for what is left out, so that a key may be
// new; elsewhere (a Hugging Face config) a misspelt one would go unseen.
bool may_be_new(std::string_view pointer) {
  const auto within = [&](std::string_view object) {
    return pointer.starts_with(object) &&
           (pointer.size() == object.size() || pointer[object.size()] == '/');
  };
  return within("/noise") || within("/plan") || within("/stack") || within("/training");
}

// Of an experiment without noise the object is made too.
void make_room(Node& root, std::string_view pointer) {
  if (!may_be_new(pointer)) return;
  Node* at = &root;
  for (std::size_t begin = 1; at != nullptr && at->kind == Node::Kind::kObject;) {
    const std::size_t end = std::min(pointer.find('/', begin), pointer.size());
    const std::string_view key = pointer.substr(begin, end - begin);
    const bool last = end == pointer.size();
    if (at->find(key) == nullptr) {
      if (!last && key != "noise") return;
      Node made;
      if (!last) made.kind = Node::Kind::kObject;
      at->members.emplace_back(key, std::move(made));
    }
    if (last) return;
    at = at->find(key);
    begin = end + 1;
  }
}

void apply_override(Node& root, const std::string& text) {
  const std::size_t eq = text.find('=');
  if (eq == std::string::npos || text.empty() || text[0] != '/')
    throw Error(ExitCode::kUsage, fmt::format("--set {}: expected /json/pointer=value, for example "
                                              "--set /plan/schedule=1f1b",
                                              text));
  make_room(root, std::string_view(text).substr(0, eq));
  json::set_at_pointer(root, std::string_view(text).substr(0, eq),
                       std::string_view(text).substr(eq + 1));
}

void add_reference(Node& object, const char* key, const char* name, const fs::path& profiles) {
  if (object.kind != Node::Kind::kObject || object.find(key) != nullptr) return;
  Node reference;
  reference.kind = Node::Kind::kString;
  reference.string = name;
  object.members.emplace_back(key, std::move(reference));
  resolve_profile(object, key, profiles, profiles);
}

// What is not named: a stack runs NCCL, intervals come from the published runs.
void add_defaults(Node& root, const fs::path& profiles) {
  if (Node* stack = root.find("stack"))
    add_reference(*stack, "collectives", "collectives/nccl_2_28", profiles);
  add_reference(root, "residuals", "residuals/published_runs", profiles);
}

StudySpec read_study(const Node& root, const std::string& path) {
  Diagnostics diagnostics;
  StudySpec s;
  s.path = path;
  Reader r(root, "", diagnostics);
  s.name = r.string("name");
  const Node* model = r.raw("model");
  if (model == nullptr)
    r.fail("", "missing key \"model\" (a Hugging Face config.json)");
  else
    s.model = read_hf_config(*model, "/model", s.name, diagnostics);
  if (model != nullptr) s.model_config = json::to_text(*model);
  s.cluster = read_cluster(r.object("cluster"));
  s.plan = read_plan(r.object("plan"));
  s.stack = read_stack(r.object("stack"));
  check_attention_kernel(r, s);
  check_operators(r, s.stack);
  s.usd_per_gpu_hour = read_price(r);
  if (const Node* training = r.raw("training"))
    s.training = read_training(*training, "/training", diagnostics);
  if (r.has("noise")) s.noise = read_noise(r.object("noise"));
  s.phases = read_phases(r, s.plan.sequence_length);
  if (!s.phases.empty() && !s.usd_per_gpu_hour)
    r.fail("", "there are \"phases\" to price, but no \"price\"");
  s.published = read_published(r);
  s.validation = read_validation(r);
  s.residuals = read_residuals(r.object("residuals"));
  r.ignore("note");
  r.finish();
  diagnostics.throw_if_any();
  return s;
}

}  // namespace

std::string experiment_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? (fs::path(path) / "experiment.json").string() : path;
}

json::Node resolve_experiment(const std::string& file, const std::string& data_root) {
  Node root = json::parse_json_file(file);
  const fs::path profiles = fs::path(data_root) / "hardware_profiles";
  for (const std::string_view key : kReferences)
    resolve_profile(root, key, fs::path(file).parent_path(), profiles);
  add_defaults(root, profiles);
  return root;
}

StudySpec read_experiment(const json::Node& root, const std::string& file) {
  StudySpec s = read_study(root, file);
  split_layers(s.plan, s.model);
  const std::vector<std::string> broken = check_plan(s.plan, s.model, s.cluster);
  if (!broken.empty()) {
    std::string all = fmt::format("{}: the plan cannot run:", s.path);
    for (const std::string& b : broken) all += "\n  " + b;
    throw Infeasible(all);
  }
  return s;
}

StudySpec load_study(const std::string& path, const std::vector<std::string>& overrides,
                     const std::string& data_root) {
  const std::string file = experiment_file(path);
  Node root = resolve_experiment(file, data_root);
  for (const std::string& o : overrides) apply_override(root, o);
  StudySpec s = read_experiment(root, file);
  s.gpu_changed = std::any_of(overrides.begin(), overrides.end(), [](const std::string& o) {
    return o.starts_with("/cluster/node/gpu/");
  });
  return s;
}

}  // namespace orrery
