#include "sim/cli/verbs.h"
namespace orrery { void add_compare(CLI::App&) {} }
