#include <fmt/format.h>

#include <charconv>
#include <map>
#include <sstream>

#include "sim/base/error.h"
#include "sim/base/file.h"
#include "sim/net/topology_build.h"

namespace orrery {
namespace {

constexpr std::size_t kMaxBytes = 64u << 20;

// The value of a whole word, or a negative number.
double number(const std::string& word) {
  double v = -1;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v);
  return error == std::errc() && end == word.data() + word.size() ? v : -1;
}

class EdgeListReader {
 public:
  EdgeListReader(const std::string& path, int64_t nodes, int64_t nics)
      : path_(path), build_(nodes, nics) {
    for (uint32_t v = 0; v < build_.so_far().vertices(); ++v) vertex_[build_.so_far().names[v]] = v;
    adapters_ = build_.so_far().vertices();
  }

  Topology read() {
    std::istringstream text(read_file(path_, kMaxBytes));
    std::string line;
    while (std::getline(text, line)) {
      ++line_;
      line.erase(std::min(line.find('#'), line.size()));
      std::istringstream words(line);
      std::vector<std::string> w;
      for (std::string word; words >> word;) w.push_back(word);
      if (!w.empty()) edge(w);
    }
    for (uint32_t a = 0; a < adapters_; ++a)
      if (!cabled_.count(a)) {
        fail(fmt::format("adapter {} has no link", build_.so_far().names[a]));
        break;
      }
    diagnostics_.throw_if_any();
    return build_.freeze();
  }

 private:
  void fail(std::string message) {
    diagnostics_.add(fmt::format("{}:{}", path_, line_), std::move(message));
  }

  uint32_t vertex(const std::string& name) {
    const auto [it, fresh] = vertex_.try_emplace(name, 0);
    if (fresh) {
      const bool like_adapter = name.size() > 1 && name[0] == 'n' && name[1] >= '0' &&
                                name[1] <= '9' && name.find('.') != std::string::npos;
      if (like_adapter)
        fail(fmt::format("found adapter \"{}\"; expected n0.0 to {}", name,
                         build_.so_far().names[adapters_ - 1]));
      it->second = build_.add_switch(name);
    }
    cabled_.emplace(it->second, true);
    return it->second;
  }

  void edge(const std::vector<std::string>& w) {
    if (w.size() < 3 || w.size() > 4)
      return fail(fmt::format("found {} words, expected \"from to GBps [latency_us]\"", w.size()));
    const double rate = number(w[2]), latency = w.size() > 3 ? number(w[3]) : 0;
    if (!(rate > 0 && rate <= 1e6))
      fail(fmt::format("found {} GB/s, expected a rate per direction above 0", w[2]));
    if (!(latency >= 0 && latency <= 1e6))
      fail(fmt::format("found latency {}, expected microseconds from 0", w.back()));
    if (w[0] == w[1]) fail(fmt::format("{} is linked to itself", w[0]));
    const uint32_t a = vertex(w[0]), b = vertex(w[1]);
    if (rate > 0 && latency >= 0 && a != b) build_.cable(a, b, rate, latency);
  }

  std::string path_;
  TopologyBuilder build_;
  std::map<std::string, uint32_t> vertex_;
  std::map<uint32_t, bool> cabled_;
  uint32_t adapters_ = 0;
  int line_ = 0;
  Diagnostics diagnostics_;
};

}  // namespace

Topology read_edge_list(const std::string& path, int64_t nodes, int64_t nics) {
  return EdgeListReader(path, nodes, nics).read();
}

}  // namespace orrery
