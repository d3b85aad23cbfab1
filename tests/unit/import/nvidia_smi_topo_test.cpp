#include "sim/import/nvidia_smi_topo.h"

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

using namespace orrery;

namespace {

// Two GPUs with 18 links and an adapter under a switch with each; colours as on a terminal.
const char* const kTwo =
    "\t\x1b[4mGPU0\tGPU1\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\x1b[0m\n"
    "GPU0\t X \tNV18\tPIX\tSYS\t0-31\t0\n"
    "GPU1\tNV18\t X \tSYS\tPIX\t32-63\t1\n"
    "NIC0\tPIX\tSYS\t X \tSYS\n"
    "NIC1\tSYS\tPIX\tSYS\t X \n"
    "\nLegend:\n\n  X    = Self\n  SYS  = Connection traversing PCIe\n";

std::string topo_refusal(const std::string& text) {
  return testing::failure_of([&] { parse_nvidia_smi_topo(text, "t.txt"); }).message;
}

}  // namespace

TEST_CASE("The matrix of nvidia-smi topo -m", "[import]") {
  const NvidiaSmiTopo t = parse_nvidia_smi_topo(kTwo, "t.txt");
  CHECK(t.gpus == std::vector<std::string>{"GPU0", "GPU1"});
  CHECK(t.nics == std::vector<std::string>{"NIC0", "NIC1"});
  CHECK(t.nvlinks() == 18);
  CHECK(t.gpu_to_nic[0][0].path == TopoPath::kPix);
  CHECK(t.nearest_nic() == std::vector<int>{0, 1});
}

TEST_CASE("GPUs that only PCIe joins have no NVLink", "[import]") {
  const NvidiaSmiTopo t =
      parse_nvidia_smi_topo("GPU0 GPU1 CPU Affinity\nGPU0 X PHB 0-7\nGPU1 PHB X 0-7\n", "t.txt");
  CHECK(t.nvlinks() == 0);
  CHECK(t.gpu_to_gpu[0][1].path == TopoPath::kPhb);
  CHECK(t.nearest_nic() == std::vector<int>{-1, -1});
}

TEST_CASE("A matrix that is none is refused with its line", "[import]") {
  CHECK(topo_refusal("nothing\n").find("no GPU in it") != std::string::npos);
  CHECK(topo_refusal("GPU0 GPU1\nGPU0 X FAR\nGPU1 PHB X\n").find("t.txt:2") != std::string::npos);
  CHECK(topo_refusal("GPU0 GPU1\nGPU0 X PHB\n").find("2 GPUs in the header, 1 rows") !=
        std::string::npos);
}
