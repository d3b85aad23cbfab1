// The collective library as tests need it.
#pragma once

#include <string>

#include "sim/base/json_reader.h"
#include "sim/spec/collectives.h"
#include "tests/source_dir.h"

namespace orrery::testing {

inline CollectiveSpec nccl() {
  const std::string root = kSourceDir;
  const json::Node n =
      json::parse_json_file(root + "/hardware_profiles/collectives/nccl_2_28.json");
  Diagnostics d;
  CollectiveSpec s = read_collectives(json::Reader(n, "", d));
  d.throw_if_any();
  return s;
}

}  // namespace orrery::testing
