// What the arguments of `orrery compare` are: an experiment and a trace, or two traces.
#pragma once

#include <string>
#include <vector>

namespace orrery {

struct CompareInputs {
  std::string experiment;         // "" with two runs
  std::vector<std::string> runs;  // traces of `orrery run`
  std::string metrics;            // of the run, beside its trace; "": none
  std::string kineto;
};

// `files` in any of the forms, by what they hold; a folder that `orrery run --out` wrote stands for
// its trace.json and metrics.jsonl. `runs` is what --run names. Throws InputError for
// a file that is no trace, Error with kUsage for another number of them.
CompareInputs compare_inputs(const std::vector<std::string>& files,
                             const std::vector<std::string>& runs);

}  // namespace orrery
