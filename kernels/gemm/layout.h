// How the operands of a GEMM lie in memory.
#pragma once

namespace orrery::kernels {

// C[m, n] = A·B, row-major. kNT: A[m, k], B[n, k] (forward); kNN: A[m, k], B[k, n] (dgrad);
// kTN: A[k, m], B[k, n] (wgrad).
enum class Layout { kNT, kNN, kTN };

}  // namespace orrery::kernels
