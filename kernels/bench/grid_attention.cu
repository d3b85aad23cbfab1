#include "kernels/bench/attention_call.cuh"
#include "kernels/bench/grid_timing.cuh"

namespace orrery::kernels::bench {
namespace {

GridPoint point(const char* family, const AttentionShape& s) {
  GridPoint p;
  p.family = family, p.kernel = "own";
  p.numbers = {{"batch", s.batch}, {"heads", s.heads}, {"kv_heads", s.kv_heads},
               {"length", s.seq},  {"d_qk", s.d_qk},   {"d_v", s.d_v}};
  return p;
}

std::vector<GridPoint> attention(const AttentionShape& s) {
  const AttentionCall call(s);
  GridPoint forward = point("attention_forward", s);
  measure(
      forward, [&](int, cudaStream_t stream) { return attention_forward(call.forward(), stream); },
      kUntilSteady);
  GridPoint backward = point("attention_backward", s);
  measure(
      backward,
      [&](int, cudaStream_t stream) { return attention_backward(call.backward(), stream); },
      kUntilSteady);
  return {forward, backward};
}

// DeepSeek-V3's heads, Llama 3's, and small ones.
constexpr AttentionShape kShapes[] = {
    {1, 4096, 128, 128, 192, 128}, {1, 4096, 16, 16, 192, 128}, {1, 16384, 16, 16, 192, 128},
    {1, 2048, 64, 64, 192, 128},   {4, 1024, 16, 16, 192, 128}, {1, 8192, 32, 32, 192, 128},
    {1, 4096, 128, 128, 128, 128}, {1, 4096, 64, 8, 128, 128},  {2, 8192, 32, 8, 128, 128},
    {1, 2048, 32, 8, 128, 128},    {4, 1024, 32, 32, 128, 128}, {1, 16384, 16, 16, 128, 128},
    {1, 4096, 32, 32, 64, 64},     {4, 2048, 16, 16, 64, 64},   {1, 8192, 64, 64, 64, 64},
    {8, 1024, 12, 12, 64, 64},     {1, 32768, 8, 8, 128, 128},  {2, 4096, 64, 64, 192, 128}};

}  // namespace

std::vector<GridTask> attention_grid() {
  std::vector<GridTask> tasks;
  for (const AttentionShape& s : kShapes)
    tasks.push_back({"attention", [s] { return attention(s); }});
  return tasks;
}

}  // namespace orrery::kernels::bench
