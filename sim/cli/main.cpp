#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "sim/cli/verbs.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app{"Orrery predicts what it costs to train a large language model on a GPU cluster.",
               "orrery"};
  app.set_version_flag("--version", "orrery " ORRERY_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  orrery predict experiments/deepseek_v3\n"
      "  orrery predict experiments/deepseek_v3 --set /plan/schedule=1f1b --allow-oom\n"
      "  orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json");
  orrery::add_predict(app);
  orrery::add_compare(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e);
    return static_cast<int>(orrery::ExitCode::kUsage);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const orrery::Error& e) {
    fmt::print(stderr, "orrery: {}\n", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "orrery: internal error: {}\n", e.what());
    return static_cast<int>(orrery::ExitCode::kInternal);
  }
}
