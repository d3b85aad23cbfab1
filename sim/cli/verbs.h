// The subcommands. Each adds itself to the application and does its work in its callback.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "sim/base/error.h"

namespace orrery {

void add_predict(CLI::App& app);
void add_compare(CLI::App& app);
void add_run(CLI::App& app);
void add_validate(CLI::App& app);
void add_sweep(CLI::App& app);
void add_bench(CLI::App& app);
void add_calibrate(CLI::App& app);

// Ends the program with this code; what there is to say has been said.
struct SilentExit {
  int code;
};

// The folder that holds hardware_profiles/: $ORRERY_DATA, else beside the installed binary, else
// the source tree that the binary was built from.
std::string data_root();

}  // namespace orrery
