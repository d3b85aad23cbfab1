// One rank of a plan of several, run without the others.
#include "runtime/cpu/fake_group.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/unit/runtime/tiny.h"

namespace orrery {
namespace {

Op op_of(OpKind kind, CommKind comm) {
  Op op;
  op.kind = kind;
  op.comm = comm;
  return op;
}

TEST_CASE("fake group: rows for a peer come back from it", "[runtime]") {
  // 1 row for rank 0, none for rank 1, 2 rows for rank 2.
  const std::vector<int64_t> to = {0, 1, 1, 3};
  Collective<double> x;
  x.rows.to = &to;
  x.rows.cols = 2, x.rows.int_cols = 1;
  x.rows.send = {1, 2, 3, 4, 5, 6};
  x.rows.send_ints = {7, 8, 9};
  fake_collective(op_of(OpKind::kDispatch, CommKind::kExpert), 3, 1, x);
  CHECK(x.rows.receive == x.rows.send);
  CHECK(x.rows.receive_ints == x.rows.send_ints);
  CHECK(x.rows.received == to);
}

TEST_CASE("fake group: gathers repeat the own part, sums are the own addend", "[runtime]") {
  std::vector<double> data = {1, 2, 3, 4, 5, 6};
  Collective<double> x;
  x.data = data.data();
  x.elements = 6;
  fake_collective(op_of(OpKind::kReduceScatter, CommKind::kData), 3, 1, x);
  fake_collective(op_of(OpKind::kAllReduce, CommKind::kData), 3, 1, x);
  CHECK(data == std::vector<double>{1, 2, 3, 4, 5, 6});
  fake_collective(op_of(OpKind::kAllGather, CommKind::kData), 3, 1, x);
  CHECK(data == std::vector<double>{3, 4, 3, 4, 3, 4});
}

TEST_CASE("fake group: what is received is random, between -1 and 1", "[runtime]") {
  HostTensor<double> out;
  out.resize(10, 100);
  Collective<double> x;
  x.receive = &out;
  fake_collective(op_of(OpKind::kRecv, CommKind::kForwardP2p), 2, 1, x);
  double sum = 0, squares = 0;
  for (double v : out.values) {
    REQUIRE(std::abs(v) <= 1);
    sum += v, squares += v * v;
  }
  CHECK(std::abs(sum / 1000) < 0.1);
  CHECK(squares / 1000 == Approx(1.0 / 3).epsilon(0.1));
}

TEST_CASE("fake group: activations of peers are the own ones", "[runtime]") {
  HostTensor<double> in, gathered, summed;
  in.resize(1, 2);
  in.values = {1, 2};
  Collective<double> x;
  x.in = {&in};
  x.out = {&gathered};
  fake_collective(op_of(OpKind::kAllGather, CommKind::kTensor), 3, 2, x);
  CHECK(gathered.rows == 3);
  CHECK(gathered.values == std::vector<double>{1, 2, 1, 2, 1, 2});
  x.out = {&summed};
  fake_collective(op_of(OpKind::kAllReduce, CommKind::kTensor), 3, 2, x);
  CHECK(summed.values == std::vector<double>{3, 6});
}

// Every rank of a layout runs to the end of its program by itself. (With tensor parallelism tokens
// of the peers' vocabulary are zeros for ever, whose norms' gradients overflow.)
TEST_CASE("fake group: each rank runs alone", "[runtime]") {
  const Layout layouts[] = {{.data = 4, .expert = 4},
                            {.pipeline = 2, .data = 2, .expert = 2},
                            {.pipeline = 2, .schedule = "dualpipe"},
                            {.data = 2, .more = {"/plan/sequence_parallel=true"}, .tensor = 2}};
  for (const Layout& l : layouts) {
    INFO(l.name());
    const TinyJob<float> all(l);
    for (int64_t rank = 0; rank < all.plan.ranks(); ++rank) {
      CpuJob<float> alone(all.plan, all.graph, all.constants, {CpuNumerics::kExact, 1234, true},
                          rank);
      REQUIRE(alone.ranks() == 1);
      CHECK(alone.rank(0).layout().rank() == rank);
      const HashTokens tokens(all.study.model.vocab);
      for (int step = 1; step <= 2; ++step) {
        OptimizerStep o;
        o.step = step;
        const StepResult r = alone.step({&tokens, 0}, o);
        if (l.tensor == 1) CHECK(std::isfinite(r.grad_norm));
      }
      // The same ops as with the others.
      std::size_t launches = 0;
      const RankClass& c = all.plan.classes[all.plan.place(rank).rank_class];
      for (const Call& call : c.calls)
        for (const Instr& i : c.blocks[call.block].instrs)
          launches += i.kind == Instr::Kind::kLaunch ? 1 : 0;
      CHECK(alone.rank(0).take_records().size() == 2 * launches);
    }
  }
}

TEST_CASE("fake group: with one rank nothing changes", "[runtime]") {
  const TinyJob<float> tiny(Layout{});
  const HashTokens tokens(tiny.study.model.vocab);
  const CpuOptions options{CpuNumerics::kExact, 1234, false};
  CpuJob<float> all(tiny.plan, tiny.graph, tiny.constants, options);
  CpuJob<float> alone(tiny.plan, tiny.graph, tiny.constants, options, 0);
  CHECK(all.step({&tokens, 0}, {}).losses == alone.step({&tokens, 0}, {}).losses);
}

}  // namespace
}  // namespace orrery
