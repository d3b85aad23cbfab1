// The matrix of `nvidia-smi topo -m`: how the GPUs and adapters of a host reach each other.
#pragma once

#include <string>
#include <vector>

namespace orrery {

// From near to far. kNvlink: with a number of bonded links.
enum class TopoPath : uint8_t { kSelf, kNvlink, kPix, kPxb, kPhb, kNode, kSys };

struct TopoCell {
  TopoPath path = TopoPath::kSelf;
  int nvlinks = 0;
};

struct NvidiaSmiTopo {
  std::vector<std::string> gpus, nics;            // "GPU0", ...; "NIC0" or "mlx5_0", ...
  std::vector<std::vector<TopoCell>> gpu_to_gpu;  // [gpu][gpu]
  std::vector<std::vector<TopoCell>> gpu_to_nic;  // [gpu][nic]

  // The smallest number of NVLinks between two GPUs; 0: some pair has none.
  int nvlinks() const;
  // The adapter nearest to each GPU, the first of equals; -1 without adapters.
  std::vector<int> nearest_nic() const;
};

// Colour codes, affinity columns and the legend are passed over. Throws InputError naming the line
// for a cell that is no path, a row of another length than the header, and a text without GPUs.
NvidiaSmiTopo parse_nvidia_smi_topo(const std::string& text, const std::string& file);

}  // namespace orrery
