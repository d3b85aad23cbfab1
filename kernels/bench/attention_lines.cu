#include "kernels/bench/attention_call.cuh"
#include "kernels/bench/bench.h"

namespace orrery::kernels::bench {
namespace {

// FLOPs count the causal half of 2 products forward (of depths d_qk and d_v) and 5 backward (3 d_qk
// + 2 d_v), however many the kernels compute.
Line line(const char* kernel, const AttentionShape& s, int64_t depths, double bytes) {
  Line l;
  l.kernel = kernel, l.bound = Bound::kBf16, l.bytes = bytes;
  l.shape = "batch " + std::to_string(s.batch) + " seq " + std::to_string(s.seq) + " heads " +
            std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " widths " +
            std::to_string(s.d_qk) + "/" + std::to_string(s.d_v);
  const double pairs =
      static_cast<double>(s.batch * s.heads) * static_cast<double>(s.seq * (s.seq + 1) / 2);
  l.flops = 2 * pairs * static_cast<double>(depths);
  return l;
}

void attention(const AttentionShape& s, std::vector<Line>* lines) {
  const AttentionCall call(s);
  const double inputs = call.input_bytes(), out = call.out.bytes();
  Line forward = line("attention_forward", s, s.d_qk + s.d_v, inputs + out);
  forward.us = 1e6 * seconds([&](int) { return attention_forward(call.forward(), nullptr); });
  lines->push_back(forward);
  Line backward = line("attention_backward", s, 3 * s.d_qk + 2 * s.d_v, 2 * inputs + 2 * out);
  backward.us = 1e6 * seconds([&](int) { return attention_backward(call.backward(), nullptr); });
  lines->push_back(backward);
}

}  // namespace

std::vector<Line> bench_attention() {
  std::vector<Line> lines;
  attention({1, 4096, 128, 128, 192, 128}, &lines);  // DeepSeek-V3
  attention({1, 4096, 16, 16, 192, 128}, &lines);
  attention({1, 16384, 16, 16, 192, 128}, &lines);
  attention({1, 4096, 128, 128, 128, 128}, &lines);
  attention({1, 4096, 64, 8, 128, 128}, &lines);  // Llama 3 70B
  return lines;
}

}  // namespace orrery::kernels::bench
