// The backward of a whole tiny model against central differences of its loss, in double.
#pragma once

#include <cmath>

#include "tests/catch.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {

// What the gradients are of: the loss with the MTP heads' part.
inline double objective(const StepResult& r, double mtp_weight) {
  double sum = r.losses.at(0);
  for (std::size_t d = 1; d < r.losses.size(); ++d)
    sum += mtp_weight / static_cast<double>(r.losses.size() - 1) * r.losses[d];
  return sum;
}

inline void check_gradients(const Layout& l) {
  INFO(l.name());
  TinyJob<double> tiny(l);
  const HashTokens tokens(tiny.study.model.vocab);
  OptimizerStep still;  // leaves the weights and the routers' biases alone
  still.lr = 0;
  still.router_bias_rate = 0;
  const auto loss = [&] { return objective(tiny.job.step({&tokens, 0}, still), 0.3); };
  loss();
  CpuRank<double>& rank = tiny.job.rank(0);
  const auto& shares = rank.layout().rank_class().shares;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const OptimizerShare& s = shares[i];
    const int share = static_cast<int>(i);
    const std::vector<double> gradient = rank.reduced_gradients(share);
    for (std::size_t p = 0; p < s.params.size(); ++p) {
      const Param& param =
          tiny.plan.stages[static_cast<std::size_t>(s.stage)].params[s.params[p].v];
      INFO(param.name << " of layer " << param.layer);
      // Along a fixed direction through all elements, so that none can be wrong alone.
      double expected = 0;
      const auto n = static_cast<std::size_t>(param.count());
      const auto at = static_cast<std::size_t>(s.offsets[p]);
      const auto sign = [](std::size_t e) { return (e * 2654435761U >> 7) % 2 == 0 ? 1.0 : -1.0; };
      for (std::size_t e = 0; e < n; ++e) expected += sign(e) * gradient[at + e];
      const double h = 1e-6;
      const auto move = [&](double by) {
        for (std::size_t e = 0; e < n; ++e) rank.weights(share)[at + e] += by * sign(e);
        rank.refresh_kernel_weights();
      };
      const std::vector<double> before = rank.weights(share);
      move(h);
      const double up = loss();
      rank.weights(share) = before;
      move(-h);
      const double down = loss();
      rank.weights(share) = before;
      rank.refresh_kernel_weights();
      CHECK((up - down) / (2 * h) == Approx(expected).epsilon(1e-4).margin(1e-7));
    }
  }
}

}  // namespace orrery
