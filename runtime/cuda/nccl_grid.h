// Collectives of NCCL between the GPUs of this machine, by size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace orrery {

struct NcclPoint {
  std::string collective;  // "all_reduce", ...
  int64_t ranks = 0;
  int64_t bytes = 0;       // as nccl-tests counts them
  std::vector<double> us;  // of a call among others, the slowest GPU's, one for each repeat
};

class NcclGrid {
 public:
  NcclGrid();  // opens a communicator over all GPUs; throws Error
  ~NcclGrid();
  NcclGrid(const NcclGrid&) = delete;
  NcclGrid& operator=(const NcclGrid&) = delete;

  // {collective, bytes}: what there is to measure.
  static std::vector<std::pair<std::string, int64_t>> points();
  NcclPoint measure(const std::string& collective, int64_t bytes);
  static std::string version();  // "2.28.3"

 private:
  struct State;
  State* state_;
};

}  // namespace orrery
