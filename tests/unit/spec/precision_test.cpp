#include "sim/spec/precision.h"

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"
#include "tests/unit/deepseek.h"

using namespace orrery;

TEST_CASE("Bytes of the recipes' tensors", "[spec]") {
  // 128 x 256 elements.
  CHECK(tensor_bytes(Dtype::kFp8Tensor, 128, 256).count() == 128 * 256 + 4);
  CHECK(tensor_bytes(Dtype::kMxfp8, 128, 256).count() == 128 * 256 + 128 * 8);
  CHECK(tensor_bytes(Dtype::kNvfp4, 128, 256).count() == 128 * 128 + 128 * 16 + 4);
  // A row of 33 needs two blocks of 32, one of 17 two of 16.
  CHECK(tensor_bytes(Dtype::kMxfp8, 1, 33).count() == 33 + 2);
  CHECK(tensor_bytes(Dtype::kNvfp4, 1, 17).count() == 9 + 2 + 4);
  // Weights: BF16 and two copies.
  CHECK(tensor_bytes(Dtype::kFp8TensorWeight, 128, 256).count() == 128 * 256 * 4 + 8);
  CHECK(tensor_bytes(Dtype::kMxfp8Weight, 128, 256).count() == 128 * 256 * 4 + 128 * 8 + 256 * 4);
  CHECK(tensor_bytes(Dtype::kNvfp4Weight, 128, 256).count() ==
        128 * 256 * 3 + 128 * 16 + 256 * 8 + 8);
}

TEST_CASE("A recipe needs its kernels in the GPU's profile", "[spec]") {
  const auto refusal = [](const std::string& precision) {
    return testing::failure_of([&] { deepseek({"/plan/precision=" + precision}); });
  };
  CHECK(refusal("fp8_delayed").message.empty());
  CHECK(refusal("mxfp8").code == ExitCode::kInfeasible);
  CHECK(contains(refusal("mxfp8").message,
                 "precision mxfp8 needs the kernel gemm_mxfp8, which the profile of H800 SXM5 does "
                 "not have"));
  CHECK(contains(refusal("nvfp4").message, "gemm_nvfp4"));
  CHECK(contains(refusal("fp9").message, "did you mean \"fp8\"?"));
}
