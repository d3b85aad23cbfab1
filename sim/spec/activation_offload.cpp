#include "sim/spec/activation_offload.h"

#include <fmt/format.h>

#include <algorithm>

namespace orrery {

const std::string_view kOffloadModuleNames[kOffloadModules] = {
    "attn_norm", "qkv_linear", "core_attn",  "attn_proj", "mlp_norm",
    "mlp_fc1",   "mlp_act",    "expert_fc1", "moe_act"};

namespace {

void read_modules(json::Reader& r, ActivationOffload& o) {
  if (!r.has("modules")) return;
  const auto begin = std::begin(kOffloadModuleNames), end = std::end(kOffloadModuleNames);
  const std::vector<std::string> names = r.strings("modules");
  if (names.empty()) r.fail("modules", "names none; leave it out to offload all of a layer");
  for (const std::string& name : names) {
    const auto at = std::find(begin, end, name);
    if (at == end)
      r.fail("modules", fmt::format("\"{}\" is no module; there are {}", name,
                                    fmt::join(kOffloadModuleNames, ", ")));
    else
      o.modules.set(static_cast<std::size_t>(at - begin));
  }
}

}  // namespace

std::optional<ActivationOffload> read_activation_offload(json::Reader& plan) {
  if (!plan.has("offload_activations")) return std::nullopt;
  json::Reader r = plan.object("offload_activations");
  ActivationOffload o;
  if (r.has("layers")) o.layers = r.integer("layers", {1, 10000});
  read_modules(r, o);
  o.min_tensor_elements = r.integer_or("min_tensor_elements", o.min_tensor_elements, {1, 1e15});
  r.finish();
  return o;
}

}  // namespace orrery
