#include "kernels/embedding/embedding_reference.h"

#include <vector>

#include "tests/catch.h"

using namespace orrery::kernels;
using Values = std::vector<double>;

TEST_CASE("embedding looks rows up, and adds their gradients", "[kernels][embedding]") {
  const std::vector<int32_t> ids{2, 0, -1, 2};
  const Values table{1, 2, 3, 4, 5, 6};  // [3, 2]
  Values out(8, -1);
  embedding_forward_reference(4, 2, ids.data(), table.data(), out.data());
  CHECK(out == Values{5, 6, 1, 2, 0, 0, 5, 6});

  const Values dx{1, 2, 10, 20, 100, 200, 1000, 2000};
  Values grad{0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
  embedding_backward_reference(4, 2, ids.data(), dx.data(), grad.data());
  CHECK(grad == Values{10.5, 20.5, 0.5, 0.5, 1001.5, 2002.5});
}
