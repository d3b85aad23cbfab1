#include "runtime/model/param_shard.h"

#include "tests/catch.h"

using namespace orrery;

namespace {

Param shard(int64_t rows, int64_t cols, ParamShard s, int64_t groups = 1) {
  Param p;
  p.rows = rows;
  p.cols = cols;
  p.shard = s;
  p.groups = groups;
  return p;
}

}  // namespace

TEST_CASE("shards: rows of a column-parallel matrix", "[runtime]") {
  const Param p = shard(2, 3, {ShardAxis::kRows, 2});
  CHECK(whole_param(p).rows == 4);
  CHECK(whole_index(p, 0, 4) == 4);          // row 1, column 1
  CHECK(whole_index(p, 1, 4) == 3 * 3 + 1);  // row 3
}

TEST_CASE("shards: each of two stacked matrices is split", "[runtime]") {
  // 6 keys' rows and 4 values' rows over two ranks: 3 and 2 each.
  const Param p = shard(5, 1, {ShardAxis::kRows, 2, 3});
  CHECK(whole_index(p, 0, 2) == 2);
  CHECK(whole_index(p, 1, 0) == 3);
  CHECK(whole_index(p, 0, 3) == 6);
  CHECK(whole_index(p, 1, 4) == 9);
}

TEST_CASE("shards: columns, of each expert's matrix", "[runtime]") {
  // Two experts [2, 2 gate + 2 up] of [2, 4 + 4].
  const Param p = shard(4, 4, {ShardAxis::kCols, 2, 2}, 2);
  CHECK(whole_param(p).cols == 8);
  CHECK(whole_index(p, 1, 0) == 2);      // gate
  CHECK(whole_index(p, 1, 2) == 4 + 2);  // up
  CHECK(whole_index(p, 0, 7) == 8 + 5);  // second row, last of up
}
