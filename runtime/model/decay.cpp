#include "runtime/model/decay.h"

#include <algorithm>

namespace orrery {

std::vector<uint8_t> decay_chunks(const StageGraph& graph, const OptimizerShare& share) {
  std::vector<uint8_t> flags(static_cast<std::size_t>(share.elements / kShareAlignment), 0);
  for (std::size_t i = 0; i < share.params.size(); ++i) {
    const Param& p = graph.params[share.params[i].v];
    if (p.init != ParamInit::kNormal) continue;
    const int64_t first = share.offsets[i] / kShareAlignment;
    const int64_t last = (share.offsets[i] + p.count() + kShareAlignment - 1) / kShareAlignment;
    std::fill(flags.begin() + first, flags.begin() + last, uint8_t{1});
  }
  return flags;
}

std::vector<NormRange> norm_ranges(const StageGraph& graph, const OptimizerShare& share,
                                   const ShardRange& owned, int64_t tensor) {
  const int64_t begin = owned.begin, end = begin + owned.elements;
  const int64_t first = std::max(begin, tensor == 0 ? 0 : share.tensor_replicated);
  std::vector<NormRange> ranges;
  const auto add = [&](int64_t a, int64_t b) {
    if (b > a) ranges.push_back({a - begin, b - a});
  };
  if (!share.repeated.valid()) {
    add(first, end);
    return ranges;
  }
  const auto at = std::find(share.params.begin(), share.params.end(), share.repeated);
  const int64_t from = share.offsets[static_cast<std::size_t>(at - share.params.begin())];
  const int64_t to = from + graph.params[share.repeated.v].count();
  add(first, std::min(end, from));
  add(std::max(first, to), end);
  return ranges;
}

}  // namespace orrery
