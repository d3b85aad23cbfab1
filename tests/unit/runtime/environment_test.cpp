#include "runtime/launch/environment.h"

#include "runtime/launch/token.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::failure_of;

const std::string kToken = "00112233445566778899aabbccddeeff";

const Environment kOrrery = {{"ORRERY_RANK", "2"},       {"ORRERY_WORLD_SIZE", "4"},
                             {"ORRERY_LOCAL_RANK", "0"}, {"ORRERY_LOCAL_SIZE", "2"},
                             {"ORRERY_ADDRESS", "gpu1"}, {"ORRERY_PORT", "1234"},
                             {"ORRERY_TOKEN", kToken}};
const Environment kOpenMpi = {
    {"OMPI_COMM_WORLD_RANK", "5"},           {"OMPI_COMM_WORLD_SIZE", "8"},
    {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},     {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
    {"PMIX_NAMESPACE", "prterun-host-77@1"}, {"ORRERY_ADDRESS", "gpu1"}};
const Environment kMpich = {{"PMI_RANK", "1"},
                            {"PMI_SIZE", "2"},
                            {"MPI_LOCALRANKID", "1"},
                            {"MPI_LOCALNRANKS", "2"},
                            {"PMI_PORT", "host:40001"}};
const Environment kTorchrun = {{"RANK", "3"},
                               {"WORLD_SIZE", "4"},
                               {"LOCAL_RANK", "1"},
                               {"LOCAL_WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "10.0.0.1"},
                               {"MASTER_PORT", "29500"}};
const Environment kSlurm = {{"SLURM_PROCID", "9"},
                            {"SLURM_NTASKS", "9"},
                            {"SLURM_LOCALID", "0"},
                            {"SLURM_NODEID", "4"},
                            {"SLURM_NODELIST", "gpu[003-006,012]"},
                            {"SLURM_TASKS_PER_NODE", "2(x4),1"},
                            {"SLURM_JOB_ID", "4711"},
                            {"SLURM_STEP_ID", "0"},
                            {"SLURM_SUBMIT_DIR", "/home/a"}};

Environment with(Environment e, const std::string& name, const std::string& value) {
  e[name] = value;
  return e;
}

Environment without(Environment e, const std::string& name) {
  e.erase(name);
  return e;
}

TEST_CASE("each launcher's variables are understood", "[runtime]") {
  struct Case {
    Environment environment;
    std::string launcher;
    int rank, world_size, local_rank, local_size;
    std::string address;
    int port;  // 0: derived from the job
  };
  const Case cases[] = {
      {{}, "none", 0, 1, 0, 1, "127.0.0.1", -1},
      {kOrrery, "orrery run", 2, 4, 0, 2, "gpu1", 1234},
      {kOpenMpi, "Open MPI", 5, 8, 1, 4, "gpu1", 0},
      {with(with(kOpenMpi, "MASTER_ADDR", "gpu2"), "MASTER_PORT", "999"), "Open MPI", 5, 8, 1, 4,
       "gpu1", 999},
      {kMpich, "MPICH", 1, 2, 1, 2, "127.0.0.1", 0},
      {{{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}, "MPICH", 1, 2, 1, 2, "127.0.0.1", 29600},
      {kTorchrun, "torchrun", 3, 4, 1, 2, "10.0.0.1", 29500},
      {with(kTorchrun, "TORCHELASTIC_USE_AGENT_STORE", "True"), "torchrun", 3, 4, 1, 2, "10.0.0.1",
       29501},
      {with(with(kSlurm, "SLURM_PROCID", "8"), "SLURM_NTASKS", "9"), "Slurm", 8, 9, 0, 1, "gpu003",
       0},
      {{{"SLURM_PROCID", "1"},
        {"SLURM_NTASKS", "2"},
        {"SLURM_LOCALID", "1"},
        {"SLURM_NODELIST", "gpu7"},
        {"SLURM_JOB_ID", "12"}},
       "Slurm",
       1,
       2,
       1,
       2,
       "127.0.0.1",
       0},
      // The more specific launcher wins.
      {with(with(kTorchrun, "SLURM_PROCID", "0"), "SLURM_NTASKS", "1"), "torchrun", 3, 4, 1, 2,
       "10.0.0.1", 29500},
  };
  for (const Case& c : cases) {
    CAPTURE(c.launcher, c.rank);
    const RankInfo info = rank_info(c.environment);
    CHECK(info.launcher == c.launcher);
    CHECK(info.rank == c.rank);
    CHECK(info.world_size == c.world_size);
    CHECK(info.local_rank == c.local_rank);
    CHECK(info.local_size == c.local_size);
    CHECK(info.address == c.address);
    if (c.port > 0) CHECK(info.port == c.port);
    if (c.port == 0) CHECK((info.port >= 16000 && info.port < 32000));
    CHECK(is_token(info.token));
  }
}

TEST_CASE("values that do not fit name the launcher and the variable", "[runtime]") {
  struct Case {
    Environment environment;
    std::string launcher, expected;
  };
  const Case cases[] = {
      {with(kOrrery, "ORRERY_RANK", "4"), "orrery run",
       "ORRERY_RANK is \"4\", expected a whole number from 0 to 3 (ORRERY_WORLD_SIZE is 4)"},
      {without(kOrrery, "ORRERY_WORLD_SIZE"), "orrery run",
       "ORRERY_WORLD_SIZE is not set, but ORRERY_RANK is"},
      {without(kOrrery, "ORRERY_RANK"), "orrery run",
       "ORRERY_RANK is not set, but ORRERY_WORLD_SIZE is"},
      {without(kOrrery, "ORRERY_TOKEN"), "orrery run",
       "ORRERY_TOKEN is not set, but ORRERY_RANK is"},
      {without(kOrrery, "ORRERY_LOCAL_SIZE"), "orrery run",
       "ORRERY_LOCAL_SIZE is not set, but ORRERY_LOCAL_RANK is"},
      {with(kOrrery, "ORRERY_LOCAL_RANK", "2"), "orrery run",
       "ORRERY_LOCAL_RANK is \"2\", expected a whole number from 0 to 1 (ORRERY_LOCAL_SIZE is 2)"},
      {with(kOrrery, "ORRERY_PORT", "70000"), "orrery run", "ORRERY_PORT is \"70000\""},
      {with(kOrrery, "ORRERY_TOKEN", "abc"), "orrery run", "ORRERY_TOKEN is no token: found 3"},
      {with(kOpenMpi, "OMPI_COMM_WORLD_SIZE", "x"), "Open MPI",
       "OMPI_COMM_WORLD_SIZE is \"x\", expected a whole number"},
      {with(kOpenMpi, "OMPI_COMM_WORLD_SIZE", "8 "), "Open MPI", "OMPI_COMM_WORLD_SIZE is \"8 \""},
      {without(kOpenMpi, "OMPI_COMM_WORLD_SIZE"), "Open MPI",
       "OMPI_COMM_WORLD_SIZE is not set, but OMPI_COMM_WORLD_RANK is"},
      {without(kOpenMpi, "ORRERY_ADDRESS"), "Open MPI", "ORRERY_ADDRESS is not set"},
      {without(kMpich, "PMI_SIZE"), "MPICH", "PMI_SIZE is not set, but PMI_RANK is"},
      {without(kMpich, "PMI_RANK"), "MPICH", "PMI_RANK is not set, but PMI_SIZE is"},
      {with(kMpich, "PMI_RANK", "-1"), "MPICH", "PMI_RANK is \"-1\""},
      {without(kTorchrun, "WORLD_SIZE"), "torchrun", "WORLD_SIZE is not set, but RANK is"},
      {{{"WORLD_SIZE", "8"}}, "torchrun", "RANK is not set, but WORLD_SIZE is"},
      {without(kTorchrun, "MASTER_ADDR"), "torchrun", "MASTER_ADDR is not set, but RANK is"},
      {with(kTorchrun, "MASTER_PORT", "0"), "torchrun", "MASTER_PORT is \"0\""},
      {kSlurm, "Slurm",
       "SLURM_PROCID is \"9\", expected a whole number from 0 to 8 (SLURM_NTASKS is 9)"},
      {without(with(kSlurm, "SLURM_PROCID", "8"), "SLURM_LOCALID"), "Slurm",
       "SLURM_LOCALID is not set, but SLURM_PROCID is"},
      {with(with(kSlurm, "SLURM_PROCID", "8"), "SLURM_LOCALID", "1"), "Slurm",
       "SLURM_LOCALID is \"1\", expected a whole number from 0 to 0 (this node runs 1 tasks)"},
      {with(with(kSlurm, "SLURM_PROCID", "8"), "SLURM_TASKS_PER_NODE", "2(x4"), "Slurm",
       "SLURM_TASKS_PER_NODE is \"2(x4\", which does not say"},
      {with(with(kSlurm, "SLURM_PROCID", "8"), "SLURM_NODELIST", "gpu[003-006"), "Slurm",
       "the node list is \"gpu[003-006\""},
      {without(with(kSlurm, "SLURM_PROCID", "8"), "SLURM_JOB_ID"), "Slurm",
       "SLURM_JOB_ID is not set, but SLURM_PROCID is"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.expected);
    const auto failure = failure_of([&] { rank_info(c.environment); });
    CHECK(failure.code == ExitCode::kBadInput);
    CAPTURE(failure.message);
    CHECK(failure.message.starts_with("environment (" + c.launcher + "): "));
    CHECK(failure.message.find(c.expected) != std::string::npos);
  }
}

TEST_CASE("the script of a Slurm batch job is no rank", "[runtime]") {
  const Environment script = without(with(kSlurm, "SLURM_PROCID", "0"), "SLURM_STEP_ID");
  CHECK(rank_info(script).launcher == "none");
  CHECK(rank_info(script).world_size == 1);
  // WORLD_SIZE is often exported for what srun starts.
  CHECK(rank_info(with(with(kSlurm, "SLURM_PROCID", "8"), "WORLD_SIZE", "9")).launcher == "Slurm");
}

TEST_CASE("the first node of a Slurm list", "[runtime]") {
  CHECK(first_slurm_node("gpu7") == "gpu7");
  CHECK(first_slurm_node("gpu7,gpu8") == "gpu7");
  CHECK(first_slurm_node("gpu[003-010,012],login1") == "gpu003");
  CHECK(first_slurm_node("gpu[12,14]") == "gpu12");
  CHECK(first_slurm_node("r[1-2]n[05-08].site") == "r1n05.site");
  for (const char* bad : {"gpu[", "gpu[]", "gpu]1", "gpu[1-2"}) {
    CAPTURE(bad);
    CHECK(failure_of([&] { first_slurm_node(bad); }).code == ExitCode::kBadInput);
  }
}

TEST_CASE("ranks of one job derive the same port and token, jobs different ones", "[runtime]") {
  const Environment slurm = with(kSlurm, "SLURM_PROCID", "8");
  const RankInfo a = rank_info(slurm);
  const RankInfo b = rank_info(with(with(slurm, "SLURM_PROCID", "1"), "SLURM_NODEID", "0"));
  CHECK(a.port == b.port);
  CHECK(a.token == b.token);
  const RankInfo other = rank_info(with(slurm, "SLURM_JOB_ID", "4712"));
  CHECK(a.port != other.port);
  CHECK(a.token != other.token);
  CHECK(a.port != rank_info(with(slurm, "SLURM_STEP_ID", "1")).port);
  CHECK(rank_info(with(slurm, "ORRERY_TOKEN", kToken)).token == kToken);
  CHECK(rank_info(with(slurm, "ORRERY_PORT", "77")).port == 77);
}

TEST_CASE("tokens are random and compared as a whole", "[runtime]") {
  const std::string a = random_token(), b = random_token();
  CHECK(is_token(a));
  CHECK(a != b);
  CHECK(constant_time_equal(a, a));
  CHECK_FALSE(constant_time_equal(a, b));
  CHECK_FALSE(constant_time_equal(a, a.substr(1)));
  std::string last = a;
  last.back() = last.back() == '0' ? '1' : '0';
  CHECK_FALSE(constant_time_equal(a, last));
  CHECK_FALSE(is_token(a.substr(1)));
  CHECK_FALSE(is_token("g" + a.substr(1)));
}

TEST_CASE("the process's environment is read whole", "[runtime]") {
  REQUIRE(::setenv("ORRERY_TEST_VARIABLE", "a=b", 1) == 0);
  CHECK(process_environment().at("ORRERY_TEST_VARIABLE") == "a=b");
  ::unsetenv("ORRERY_TEST_VARIABLE");
}

}  // namespace
}  // namespace orrery
