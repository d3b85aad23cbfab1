#include "sim/exec/l2_reuse.h"

#include "tests/catch.h"

using namespace orrery;

namespace {

TensorId tensor(StageGraph& g, int64_t bytes) {
  Tensor t;
  t.bytes = Bytes(bytes);
  g.tensors.push_back(t);
  return TensorId(static_cast<uint32_t>(g.tensors.size() - 1));
}

void op(StageGraph& g, AccessPattern pattern, std::vector<TensorId> in, std::vector<TensorId> out,
        int64_t bytes) {
  Op o;
  o.kind = OpKind::kAdd;
  o.first_operand = static_cast<uint32_t>(g.operands.size());
  o.inputs = static_cast<uint8_t>(in.size()), o.outputs = static_cast<uint8_t>(out.size());
  o.work.pattern = pattern, o.work.hbm = Bytes(bytes);
  g.operands.insert(g.operands.end(), in.begin(), in.end());
  g.operands.insert(g.operands.end(), out.begin(), out.end());
  g.ops.push_back(o);
}

}  // namespace

TEST_CASE("A byte stays in L2 until as many have passed as L2 holds", "[exec]") {
  CHECK(part_in_l2(20, 10, 20, 30) == 1);
  CHECK(part_in_l2(20, 10, 20, 29) == 0);
  // 10 at the start of the tensor, 50 at its end: three quarters have seen 40 or less.
  CHECK(part_in_l2(10, 0, 50, 40) == 0.75);
  // The last quarter, of which the writer was done last.
  CHECK(part_in_l2(50, 0, 10, 20) == 0.25);
  // An optimizer, which moves far more than L2 holds, finds next to nothing.
  CHECK(part_in_l2(0, 0, 1000, 50) == 0.05);
}

TEST_CASE("Ops find in L2 what ops before them left", "[exec]") {
  StageGraph g;
  const TensorId a = tensor(g, 10), b = tensor(g, 10), c = tensor(g, 10), e = tensor(g, 10);
  op(g, AccessPattern::kStream, {a}, {b}, 20);        // nothing there yet
  op(g, AccessPattern::kStream, {b}, {c}, 20);        // 20 bytes ago
  op(g, AccessPattern::kCast, {c}, {e}, 20);          // held back by arithmetic
  op(g, AccessPattern::kRowReduce, {a, e}, {b}, 30);  // a: 40 bytes and more ago
  const std::vector<double> parts = reads_in_l2(g, Bytes(30));
  CHECK(parts[0] == 0);
  CHECK(parts[1] == 0.5);  // of 10 bytes read and 10 written
  CHECK(parts[2] == 0);
  CHECK(parts[3] == Approx(1.0 / 3));  // e, of 30 bytes
  CHECK(reads_in_l2(g, Bytes(0)) == std::vector<double>(4, 0.0));
}
