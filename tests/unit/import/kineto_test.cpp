#include "sim/import/kineto.h"

#include <cmath>

#include "sim/study/compare.h"
#include "tests/catch.h"
#include "tests/source_dir.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

namespace {
std::string profile() {
  return std::string(kSourceDir) + "/experiments/deepseek_v3/profile/train.json";
}

// Reads a trace of these events.
MeasuredTrace read_events(const std::string& events) {
  const testing::TemporaryDirectory dir;
  testing::write(dir.file("t.json"), R"({"traceEvents":[)" + events + "]}");
  return read_kineto(dir.file("t.json"));
}

std::string gpu(const std::string& name, int ts, int correlation) {
  return R"({"ph":"X","cat":"kernel","name":")" + name + R"(","ts":)" + std::to_string(ts) +
         R"(,"dur":4,"args":{"stream":7,"correlation":)" + std::to_string(correlation) + "}}";
}
std::string cpu(const std::string& cat, const std::string& name, int ts, int dur, int id) {
  return R"({"ph":"X","cat":")" + cat + R"(","name":")" + name + R"(","ts":)" + std::to_string(ts) +
         R"(,"dur":)" + std::to_string(dur) + R"(,"args":{"correlation":)" + std::to_string(id) +
         "}}";
}
}  // namespace

TEST_CASE("Kernels take the innermost annotation around their launch", "[import]") {
  const std::string launch = "cuda_runtime", range = "user_annotation";
  const MeasuredTrace t =
      read_events(cpu(range, "ProfilerStep#1", 0, 100, 0) + "," + cpu(range, "1F1B", 10, 60, 0) +
                  "," + cpu(range, "attn(F)", 20, 10, 0) + "," + cpu(range, "attn(F)", 40, 10, 0) +
                  "," + cpu(launch, "a", 25, 1, 1) + "," + cpu("cuda_driver", "b", 45, 1, 2) + "," +
                  cpu(launch, "c", 35, 1, 3) + "," + cpu(launch, "d", 90, 1, 4) + "," +
                  R"({"ph":"X","cat":"cuda_runtime","name":"e","ts":25,"dur":1})" + "," +
                  R"({"ph":"X","cat":"kernel","name":"other","ts":240,"dur":10})" + "," +
                  gpu("sm90_xmma_gemm_bf16", 210, 2) + "," + gpu("rotary_kernel", 200, 1) + "," +
                  gpu("cuda::swiglu_backward", 220, 3) + "," + gpu("vectorized", 230, 4));
  REQUIRE(t.kernels.size() == 5);
  CHECK(t.span_us == 50);
  const char* const segments[] = {"attn(F)", "attn(F)", "1F1B", "", ""};
  const int layers[] = {0, 1, 0, -1, -1};
  const KernelClass classes[] = {KernelClass::kRopeCopy, KernelClass::kGemmBf16,
                                 KernelClass::kSwiGlu, KernelClass::kElementwise,
                                 KernelClass::kElementwise};
  for (std::size_t i = 0; i < 5; ++i) {
    CAPTURE(i);
    CHECK(t.kernels[i].start_us == 10 * static_cast<double>(i));
    CHECK(t.kernels[i].segment == segments[i]);
    CHECK(t.kernels[i].layer == layers[i]);
    CHECK(t.kernels[i].cls == classes[i]);
  }
}

TEST_CASE("A GPU event without a time is refused by its index", "[import]") {
  const std::string bad = R"({"ph":"X","cat":"kernel","name":"k","ts":1})";
  const std::string message = error_of([&] { read_events(gpu("k", 0, 1) + "," + bad); });
  CHECK(contains(message, "/traceEvents/1"));
  CHECK(contains(message, "\"dur\""));
  CHECK(contains(error_of([] { read_events(""); }), "no GPU kernel"));
}

TEST_CASE("The published H800 pair is read with its segments and classes", "[import]") {
  const MeasuredTrace t = read_kineto(profile());
  CHECK(t.kernels.size() == 983);
  CHECK(t.span_us == Approx(129012));
  double combine = 0, wgrad = 0, cast = 0;
  for (const MeasuredKernel& k : t.kernels) {
    if (k.cls == KernelClass::kCommCombine) combine += k.duration_us;
    if (k.cls == KernelClass::kGemmWgrad) wgrad += k.duration_us;
    if (k.cls == KernelClass::kQuantCast) cast += k.duration_us;
    CHECK((k.layer >= 0 && k.layer < 4));
  }
  CHECK(combine == 49448);
  CHECK(wgrad == 32756);
  CHECK(cast == 14845);
}

TEST_CASE("Kernels are classed by their names", "[import]") {
  const std::pair<const char*, KernelFamily> known[] = {
      {"nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_NTN", KernelFamily::kGemm},
      {"void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu>", KernelFamily::kGemm},
      {"void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<128>>",
       KernelFamily::kAttentionForward},
      {"void flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<128>", KernelFamily::kAttentionBackward},
      {"cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_7_64x128x128",
       KernelFamily::kAttentionBackward},
      {"cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7",
       KernelFamily::kAttentionForward},
      {"ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
       KernelFamily::kReduceScatter},
      {"ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", KernelFamily::kExchange},
      {"ncclDevKernel_Broadcast_RING_LL", KernelFamily::kOtherCommunication},
      {"triton_poi_fused_cat_silu_mul_transpose_7", KernelFamily::kMap},
      {"triton_tem_fused_mm_12", KernelFamily::kGemm},
      {"void transformer_engine::normalization::rmsnorm_fwd_tuned_kernel<...>",
       KernelFamily::kNorm},
      {"void transformer_engine::cast_transpose_general_kernel<...>", KernelFamily::kCast},
      {"void at::native::(anonymous namespace)::multi_tensor_apply_kernel<...>",
       KernelFamily::kOptimizer},
      {"void at::native::reduce_kernel<512, 1, ...>", KernelFamily::kMap},
      {"some_kernel", KernelFamily::kUnknown}};
  for (const auto& [name, family] : known) {
    CAPTURE(name);
    CHECK(classify_kernel(name).family == family);
  }
  CHECK(short_kernel_name("void at::native::reduce_kernel<512, 1>(int)") ==
        "at::native::reduce_kernel");
  CHECK(short_kernel_name("(anonymous namespace)::elementwise_kernel_with_index<int>(int)") ==
        "(anonymous namespace)::elementwise_kernel_with_index");
  CHECK(short_kernel_name("_copy_tensor_kernel") == "_copy_tensor_kernel");
}

// tests/data/compare/kineto.json: steps 2, 3 and 4, whose first kernels start at 150, 1150 and 2170
// of the first step's time, and a copy before them.
TEST_CASE("A profiled step is taken by number, or the typical one", "[import]") {
  const std::string path = std::string(kSourceDir) + "/tests/data/compare/kineto.json";
  const MeasuredTrace t = read_kineto(path);
  CHECK(t.kernels.size() == 16);
  CHECK(t.rank == 0);
  CHECK(t.device == "NVIDIA H100 80GB HBM3");
  // Steps 2 and 3 are followed by another, after 1000 and 1020 us: the lower median is step 2.
  const MeasuredStep typical = select_step(t, std::nullopt, path);
  CHECK(typical.number == 2);
  CHECK(typical.first == 2);
  CHECK(typical.last == 4);
  CHECK(typical.left_out == 1);
  CHECK(typical.step_us == 1000);
  REQUIRE(typical.trace.kernels.size() == 5);
  CHECK(typical.trace.kernels[0].start_us == 0);
  CHECK(typical.trace.span_us == 900);
  REQUIRE(typical.trace.memory.size() == 3);
  CHECK(typical.trace.memory[0].time_us == 10);
  CHECK(select_step(t, 3, path).step_us == 1020);
  CHECK(select_step(t, 4, path).step_us == 900);  // the last: to its end
  CHECK(contains(error_of([&] { select_step(t, 7, path); }), "its steps are 2 to 4"));
  const MeasuredTrace plain = read_events(gpu("k", 0, 1) + "," + gpu("k", 10, 2));
  CHECK(select_step(plain, std::nullopt, path).step_us == 14);
  CHECK(contains(error_of([&] { select_step(plain, 1, path); }), "ProfilerStep"));
}

TEST_CASE("Kernels of two GPUs are refused", "[import]") {
  const std::string other =
      R"({"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"device":1}})";
  const std::string one =
      R"({"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"device":0}})";
  CHECK(contains(error_of([&] { read_events(one + "," + other); }), "2 GPUs"));
}

TEST_CASE("Names that no pattern knows are listed with their time", "[import]") {
  const Comparison c = compare_pair(deepseek(), 1, read_kineto(profile()));
  REQUIRE(c.unknown.size() == 2);
  CHECK(contains(c.unknown[0].name, "aux_fi_impl"));
  CHECK(c.unknown[0].us == 28);
  CHECK(c.unknown[0].count == 4);
  CHECK(c.unknown[1].us == 14);
}

TEST_CASE("A file that is no trace is refused", "[import]") {
  const std::string other = std::string(kSourceDir) + "/experiments/deepseek_v3/config.json";
  CHECK(contains(error_of([&] { read_kineto(other); }), "traceEvents"));
}

TEST_CASE("The simulated pair stays within 5 % of the measured one", "[import]") {
  const Comparison c = compare_pair(deepseek(), 1, read_kineto(profile()));
  CHECK(std::abs(c.total.error()) < 0.05);
  CHECK(c.joined > 500);
}
