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

TEST_CASE("A file that is no trace is refused", "[import]") {
  const std::string other = std::string(kSourceDir) + "/experiments/deepseek_v3/config.json";
  CHECK(contains(error_of([&] { read_kineto(other); }), "traceEvents"));
}

TEST_CASE("The simulated pair stays within 5 % of the measured one", "[import]") {
  const Comparison c = compare_pair(deepseek(), 1, read_kineto(profile()));
  CHECK(std::abs(c.total.error()) < 0.05);
  CHECK(c.joined > 500);
}
