#include "sim/import/nccl_tests.h"

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

using namespace orrery;

namespace {

// Laid out as nccl-tests prints it; the figures are made up.
const char* const kText = R"(host: some line of mpirun
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 1 minBytes 1024 maxBytes 2048 step: 2(factor) warmup iters: 5 iters: 20
#  Rank  0 Group  0 Pid    1 on  host device  0 [0x0a] NVIDIA H200
#  Rank  1 Group  0 Pid    2 on  host device  1 [0x18] NVIDIA H200
#                                                       out-of-place              in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
           0             0     float     sum      -1     9.24    0.00    0.00      0     9.10    0.00    0.00      0
        1024           256     float     sum      -1    10.24    0.10    0.00      0    10.10    0.10    0.00      0
     1048576        262144     float     sum      -1    20.00   52.43   52.43    N/A    21.00   49.93   49.93    N/A
# Avg bus bandwidth    : 26.2
)";

const char* const kJson = R"({"version": 1, "devices": [{"rank": 0}, {"rank": 1}], "results": [
  {"size": 1048576, "count": 262144, "type": "float", "redop": "sum", "root": -1,
   "out_of_place": {"time": 20.0, "alg_bw": 52.43, "bus_bw": 52.43, "nwrong": 0},
   "in_place": {"time": 21.0, "alg_bw": 49.93, "bus_bw": 49.93, "nwrong": null}}]})";

std::string table_refusal(const std::string& text) {
  return testing::failure_of([&] { parse_nccl_tests(text, "x.txt"); }).message;
}

}  // namespace

TEST_CASE("The text of nccl-tests is read among other lines", "[import]") {
  const NcclTestRun r = parse_nccl_tests(kText, "x.txt");
  CHECK(r.program == "all_reduce_perf");
  CHECK(r.ranks == 2);
  REQUIRE(r.points.size() == 2);
  CHECK(r.points[1].size == Bytes(1048576));
  CHECK(r.points[1].time_us == 20);
  CHECK(r.points[1].bus_GBps == 52.43);
  CHECK(r.points[1].in_place_time_us == 21);
  CHECK(r.points[0].type == "float");
  CHECK(r.nodes == 1);
  CHECK(r.gpu == "NVIDIA H200");
}

TEST_CASE("The JSON of nccl-tests says who ran it, with MPI and without", "[import]") {
  const std::string results = R"("results": [{"size": 8, "type": "float",
    "out_of_place": {"time": 20.0, "alg_bw": 1, "bus_bw": 1, "nwrong": 0},
    "in_place": {"time": 21.0, "alg_bw": 1, "bus_bw": 1, "nwrong": null}}]})";
  const NcclTestRun mpi = parse_nccl_tests(
      R"({"version": 2, "args": ["./all_gather_perf", "-g", "1"], "config": {"nthreads": 1,
          "ngpus": 1, "devices": [
            {"rank": 0, "hostname": "a", "device_info": "NVIDIA H100"},
            {"rank": 1, "hostname": "a", "device_info": "NVIDIA H100"},
            {"rank": 2, "hostname": "b", "device_info": "NVIDIA H100"},
            {"rank": 3, "hostname": "b", "device_info": "NVIDIA H100"}]}, )" +
          results,
      "x.json");
  CHECK(mpi.program == "./all_gather_perf");
  CHECK(mpi.ranks == 4);
  CHECK(mpi.nodes == 2);
  CHECK(mpi.gpu == "NVIDIA H100");
  const NcclTestRun alone = parse_nccl_tests(
      R"({"config": {"nthreads": 1, "ngpus": 8, "devices": [{"rank": 0, "hostname": "a"}]}, )" +
          results,
      "x.json");
  CHECK(alone.ranks == 8);
  CHECK(alone.nodes == 1);
}

TEST_CASE("The JSON of nccl-tests gives the same point", "[import]") {
  const NcclTestRun r = parse_nccl_tests(kJson, "x.json");
  CHECK(r.ranks == 2);
  REQUIRE(r.points.size() == 1);
  CHECK(r.points[0].size == Bytes(1048576));
  CHECK(r.points[0].time_us == 20);
  CHECK(r.points[0].in_place_bus_GBps == 49.93);
}

TEST_CASE("Output that cannot be trusted is refused with its line", "[import]") {
  CHECK(table_refusal("# nothing\n").find("no row") != std::string::npos);
  const std::string wrong = "1024 256 float sum -1 10.2 0.1 0.1 3 10.1 0.1 0.1 0\n";
  CHECK(table_refusal(wrong).find("x.txt:1") != std::string::npos);
  CHECK(table_refusal(wrong).find("3 wrong values") != std::string::npos);
  const std::string broken = "1024 256 float sum -1 fast 0.1 0.1 0 10.1 0.1 0.1 0\n";
  CHECK(table_refusal(broken).find("found \"fast\" in column 6") != std::string::npos);
  CHECK(table_refusal(R"({"results": [{"size": 8}]})").find("out_of_place") != std::string::npos);
}
