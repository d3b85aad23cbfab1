#include "sim/import/nvidia_smi_topo.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "sim/base/error.h"

namespace orrery {
namespace {

// Without ANSI escapes ("\x1b[4m").
std::string plain(const std::string& line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\x1b') {
      out += line[i];
      continue;
    }
    while (i < line.size() && line[i] != 'm') ++i;
  }
  return out;
}

bool numbered(const std::string& word, const std::string& prefix) {
  return word.size() > prefix.size() && word.compare(0, prefix.size(), prefix) == 0 &&
         word.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
}

bool is_gpu(const std::string& w) { return numbered(w, "GPU"); }
bool is_nic(const std::string& w) { return numbered(w, "NIC") || w.find("mlx") == 0; }

bool to_cell(const std::string& w, TopoCell& c) {
  const std::pair<const char*, TopoPath> kNames[] = {
      {"X", TopoPath::kSelf},  {"PIX", TopoPath::kPix},   {"PXB", TopoPath::kPxb},
      {"PHB", TopoPath::kPhb}, {"NODE", TopoPath::kNode}, {"SYS", TopoPath::kSys}};
  for (const auto& [name, path] : kNames)
    if (w == name) return c = {path, 0}, true;
  if (!numbered(w, "NV") || w.size() > 5) return false;
  c = {TopoPath::kNvlink, std::stoi(w.substr(2))};
  return true;
}

class TopoReader {
 public:
  explicit TopoReader(const std::string& file) : file_(file) {}

  NvidiaSmiTopo read(const std::string& text) {
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      ++line_;
      std::istringstream words(plain(line));
      std::vector<std::string> w;
      for (std::string word; words >> word;) w.push_back(word);
      if (w.empty()) continue;
      if (columns_.empty() && is_gpu(w[0]))
        header(w);
      else if (is_gpu(w[0]))
        row(w);
    }
    if (topo_.gpus.empty())
      diagnostics_.add(file_, "no GPU in it; expected the output of nvidia-smi topo -m");
    else if (topo_.gpu_to_gpu.size() != topo_.gpus.size())
      diagnostics_.add(file_, fmt::format("{} GPUs in the header, {} rows of them",
                                          topo_.gpus.size(), topo_.gpu_to_gpu.size()));
    diagnostics_.throw_if_any();
    return topo_;
  }

 private:
  void header(const std::vector<std::string>& w) {
    for (const std::string& name : w) {
      if (is_gpu(name))
        topo_.gpus.push_back(name);
      else if (is_nic(name))
        topo_.nics.push_back(name);
      else
        break;  // "CPU Affinity"
      columns_.push_back(name);
    }
  }

  void row(const std::vector<std::string>& w) {
    auto& gpus = topo_.gpu_to_gpu.emplace_back();
    auto& nics = topo_.gpu_to_nic.emplace_back();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      TopoCell c;
      if (i + 1 >= w.size() || !to_cell(w[i + 1], c))
        return diagnostics_.add(
            fmt::format("{}:{}", file_, line_),
            fmt::format("{} to {}: found \"{}\", expected X, NV#, PIX, PXB, PHB, NODE or SYS", w[0],
                        columns_[i], i + 1 < w.size() ? w[i + 1] : ""));
      (is_gpu(columns_[i]) ? gpus : nics).push_back(c);
    }
  }

  std::string file_;
  int line_ = 0;
  std::vector<std::string> columns_;
  NvidiaSmiTopo topo_;
  Diagnostics diagnostics_;
};

}  // namespace

int NvidiaSmiTopo::nvlinks() const {
  int least = gpus.size() < 2 ? 0 : 1 << 20;
  for (std::size_t i = 0; i < gpus.size(); ++i)
    for (std::size_t j = 0; j < gpus.size(); ++j)
      if (i != j) least = std::min(least, gpu_to_gpu[i][j].nvlinks);
  return least;
}

std::vector<int> NvidiaSmiTopo::nearest_nic() const {
  std::vector<int> nearest;
  for (const std::vector<TopoCell>& row : gpu_to_nic) {
    const auto it =
        std::min_element(row.begin(), row.end(),
                         [](const TopoCell& a, const TopoCell& b) { return a.path < b.path; });
    nearest.push_back(it == row.end() ? -1 : static_cast<int>(it - row.begin()));
  }
  return nearest;
}

NvidiaSmiTopo parse_nvidia_smi_topo(const std::string& text, const std::string& file) {
  return TopoReader(file).read(text);
}

}  // namespace orrery
