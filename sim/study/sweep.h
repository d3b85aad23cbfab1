// Many variants of one experiment, over threads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/study/spread.h"

namespace orrery {

// Values that the JSON pointer takes, as written: "/plan/micro_batch=1,2,4". Commas inside brackets
// or quotes belong to a value: "/plan/layers_per_stage=[4,4],[5,3]".
struct SweepAxis {
  std::string pointer;
  std::vector<std::string> values;
};
// Throws Error (usage) when the text is not of that form.
SweepAxis parse_axis(const std::string& text);

enum class Fidelity : uint8_t { kFlow, kAnalytic };

struct SweepSpec {
  std::string experiment;
  std::vector<std::string> overrides;  // of every point, applied first
  std::vector<SweepAxis> axes;         // all combinations; the last axis varies fastest
  Fidelity fidelity = Fidelity::kFlow;
  int threads = 1;
  std::function<void(int64_t)> progress;  // points done; called from one thread at a time
};

struct SweepPoint {
  enum class Outcome : uint8_t {
    kFits,
    kOutOfMemory,  // simulated all the same
    kInfeasible,   // the plan cannot run; `note` says why
    kInvalid,      // a value is not one that its field takes
  };
  std::vector<std::string> values;  // one per axis
  Outcome outcome = Outcome::kFits;
  std::string note;
  double step_time_s = 0;  // kAnalytic: at least
  // Of the step, and of the peak below, with probability kIntervalLevel; none with kAnalytic.
  std::optional<Predictive::Factors> time_factors, memory_factors;
  double tokens_per_s_per_gpu = 0;
  double mfu = 0;              // causal
  double peak_memory_GiB = 0;  // of the worst rank; 0 with kAnalytic, which knows no memory
  double cost_usd = 0;         // of all phases; 0 with kAnalytic
  bool simulated() const { return outcome <= Outcome::kOutOfMemory; }
};
extern const std::string_view kSweepOutcomes[4];  // "fits", "out_of_memory", ...

// One result per combination, in the order of the combinations whatever the number of threads: a
// point's result depends on nothing but its values. Throws what load_study throws when the
// experiment cannot be read as it stands, without the axes.
std::vector<SweepPoint> sweep(const SweepSpec& spec, const std::string& data_root);

}  // namespace orrery
