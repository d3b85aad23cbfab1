#include "runtime/model/zeroed_gradients.h"

namespace orrery {

std::vector<ElementRange> zeroed_gradients(const StageGraph& graph, const OptimizerShare& share) {
  std::vector<ElementRange> ranges;
  int64_t begin = 0;
  const auto end_range = [&](int64_t end) {
    if (end > begin) ranges.push_back({begin, end - begin});
  };
  for (std::size_t i = 0; i < share.params.size(); ++i) {
    const Param& p = graph.params[share.params[i].v];
    if (!p.gradient_written) continue;
    end_range(share.offsets[i]);
    begin = i + 1 < share.params.size() ? share.offsets[i + 1] : share.elements;
  }
  end_range(share.elements);
  return ranges;
}

}  // namespace orrery
