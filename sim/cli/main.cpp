#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "sim/base/text.h"
#include "sim/cli/verbs.h"

namespace {

// CLI11 says only that a subcommand is missing; name the one that was meant.
void check_verb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  const std::string word = argv[1];
  std::vector<std::string> verbs;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    verbs.push_back(sub->get_name());
  for (const std::string& v : verbs)
    if (v == word) return;
  const std::string near = orrery::nearest_name(word, verbs);
  throw orrery::Error(orrery::ExitCode::kUsage,
                      fmt::format("unknown verb \"{}\"{}; orrery --help lists them", word,
                                  near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
}

int run(int argc, char** argv) {
  CLI::App app{
      "Orrery predicts what it costs to train a large language model on a GPU cluster, and trains "
      "it.",
      "orrery"};
  app.set_version_flag("--version", "orrery " ORRERY_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  orrery predict experiments/deepseek_v3\n"
      "  orrery predict experiments/deepseek_v3 --set /plan/schedule=1f1b --allow-oom\n"
      "  orrery sweep experiments/deepseek_v3 --vary /plan/schedule=1f1b,dualpipe\n"
      "  orrery compare experiments/deepseek_v3 experiments/deepseek_v3/profile/train.json\n"
      "  orrery run experiments/tiny_moe --device cpu --steps 20");
  orrery::add_predict(app);
  orrery::add_sweep(app);
  orrery::add_compare(app);
  orrery::add_run(app);
  orrery::add_validate(app);
  orrery::add_bench(app);
  orrery::add_calibrate(app);
  check_verb(app, argc, argv);
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
  } catch (const orrery::SilentExit& e) {
    return e.code;
  } catch (const orrery::Error& e) {
    fmt::print(stderr, "orrery: {}\n", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "orrery: internal error: {}\n", e.what());
    return static_cast<int>(orrery::ExitCode::kInternal);
  }
}
