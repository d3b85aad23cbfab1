#include "runtime/launch/environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "runtime/launch/token.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

constexpr int kMaxRanks = 1 << 20;
constexpr int kMaxPort = 65535;
constexpr int kDefaultPort = 29600;

// The variables of one launcher, with messages that name it.
class Variables {
 public:
  Variables(const Environment& all, std::string launcher)
      : all_(all), launcher_(std::move(launcher)) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw InputError({{"environment (" + launcher_ + ")", message}});
  }

  // The first that is set and not empty; null when none is.
  const Environment::value_type* find(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      const auto at = all_.find(name);
      if (at != all_.end() && !at->second.empty()) return &*at;
    }
    return nullptr;
  }
  bool has(const char* name) const { return find({name}) != nullptr; }
  std::string text(const char* name) const {
    const auto* found = find({name});
    return found ? found->second : "";
  }

  const Environment::value_type& need(const char* name, const char* because) const {
    const auto* found = find({name});
    if (!found) fail(fmt::format("{} is not set, but {} is", name, because));
    return *found;
  }

  int number(const Environment::value_type& variable, int low, int high,
             const std::string& why = "") const {
    const std::string& value = variable.second;
    int result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (error == std::errc() && end == value.data() + value.size() && result >= low &&
        result <= high) {
      return result;
    }
    fail(fmt::format("{} is {}, expected a whole number from {} to {}{}", variable.first,
                     in_quotes(value), low, high, why));
  }

 private:
  const Environment& all_;
  std::string launcher_;
};

void read_rank(const Variables& v, const char* rank, const char* size, RankInfo& info) {
  info.world_size = v.number(v.need(size, rank), 1, kMaxRanks);
  info.rank = v.number(v.need(rank, size), 0, info.world_size - 1,
                       fmt::format(" ({} is {})", size, info.world_size));
}

// Without either variable all ranks are taken to be on this machine.
void read_local_rank(const Variables& v, std::initializer_list<const char*> ranks,
                     std::initializer_list<const char*> sizes, RankInfo& info) {
  const auto* rank = v.find(ranks);
  const auto* size = v.find(sizes);
  if (!rank && !size) {
    info.local_rank = info.rank;
    info.local_size = info.world_size;
    return;
  }
  if (!rank) v.fail(fmt::format("{} is not set, but {} is", *ranks.begin(), size->first));
  if (!size) v.fail(fmt::format("{} is not set, but {} is", *sizes.begin(), rank->first));
  info.local_size =
      v.number(*size, 1, info.world_size, fmt::format(" (the job has {} ranks)", info.world_size));
  info.local_rank = v.number(*rank, 0, info.local_size - 1,
                             fmt::format(" ({} is {})", size->first, info.local_size));
}

// A port that jobs running at the same time are unlikely to share, below the range that systems
// give to outgoing connections.
int port_of_job(std::string_view job) {
  constexpr uint64_t kFirst = 16000, kCount = 16000;
  return static_cast<int>(kFirst + hash64(job) % kCount);
}

void read_orrery(const Variables& v, RankInfo& info) {
  read_rank(v, "ORRERY_RANK", "ORRERY_WORLD_SIZE", info);
  read_local_rank(v, {"ORRERY_LOCAL_RANK"}, {"ORRERY_LOCAL_SIZE"}, info);
  if (info.world_size == 1) return;
  for (const char* name : {"ORRERY_ADDRESS", "ORRERY_PORT", "ORRERY_TOKEN"}) {
    v.need(name, "ORRERY_RANK");
  }
  if (info.rank != 0) return;
  if (const auto* fd = v.find({"ORRERY_LISTEN_FD"})) info.listen_fd = v.number(*fd, 0, 1 << 20);
}

// MPI launchers say nothing about how to reach rank 0.
void read_mpi_address(const Variables& v, std::string_view job, RankInfo& info) {
  if (const auto* address = v.find({"MASTER_ADDR"})) info.address = address->second;
  info.port = job.empty() ? kDefaultPort : port_of_job(job);
  if (const auto* port = v.find({"MASTER_PORT"})) info.port = v.number(*port, 1, kMaxPort);
  if (info.single_machine() || v.has("MASTER_ADDR") || v.has("ORRERY_ADDRESS")) return;
  v.fail(
      "ranks run on several machines, but ORRERY_ADDRESS is not set; pass the name of rank 0's "
      "machine to all ranks in it (or in MASTER_ADDR)");
}

void read_open_mpi(const Variables& v, RankInfo& info) {
  read_rank(v, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", info);
  read_local_rank(v, {"OMPI_COMM_WORLD_LOCAL_RANK"}, {"OMPI_COMM_WORLD_LOCAL_SIZE"}, info);
  const auto* job = v.find({"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"});
  read_mpi_address(v, job ? job->second : "", info);
}

void read_mpich(const Variables& v, RankInfo& info) {
  read_rank(v, "PMI_RANK", "PMI_SIZE", info);
  read_local_rank(v, {"MPI_LOCALRANKID", "PMI_LOCAL_RANK"}, {"MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"},
                  info);
  const auto* job = v.find({"PMI_JOBID", "PMI_PORT"});
  read_mpi_address(v, job ? job->second : "", info);
}

void read_torchrun(const Variables& v, RankInfo& info) {
  read_rank(v, "RANK", "WORLD_SIZE", info);
  read_local_rank(v, {"LOCAL_RANK"}, {"LOCAL_WORLD_SIZE"}, info);
  if (info.world_size == 1) return;
  info.address = v.need("MASTER_ADDR", "RANK").second;
  info.port = v.number(v.need("MASTER_PORT", "RANK"), 1, kMaxPort);
  // Then torchrun's own store listens on that port.
  if (v.text("TORCHELASTIC_USE_AGENT_STORE") == "True") {
    info.port += info.port < kMaxPort ? 1 : -1;
  }
}

// Slurm's "2(x3),1": how many tasks the node of this index runs. 0 when the text does not say.
int tasks_of_node(const Variables& v, const Environment::value_type& variable, int node) {
  std::string_view rest = variable.second;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const std::size_t bracket = item.find("(x");
    const bool closed = item.ends_with(')');
    if ((bracket != std::string_view::npos) != closed) break;
    const std::string count(item.substr(0, bracket));
    const int tasks = v.number({variable.first, count}, 1, kMaxRanks);
    int times = 1;
    if (closed) {
      const std::string text(item.substr(bracket + 2, item.size() - bracket - 3));
      times = v.number({variable.first, text}, 1, kMaxRanks);
    }
    if (node < times) return tasks;
    node -= times;
  }
  return 0;
}

void read_slurm(const Variables& v, RankInfo& info) {
  const bool has_step_size = v.has("SLURM_STEP_NUM_TASKS");
  read_rank(v, "SLURM_PROCID", has_step_size ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS", info);
  // The step's list, not the job's: rank 0 is on the first node of the step.
  const auto* nodes = v.find({"SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"});
  if (!nodes && info.world_size > 1) v.need("SLURM_NODELIST", "SLURM_PROCID");
  const bool one_node = !nodes || nodes->second.find_first_of("[,") == std::string::npos;
  const auto* counts = v.find({"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"});
  info.local_size = info.world_size;
  if (!one_node) {
    if (!counts) v.need("SLURM_STEP_TASKS_PER_NODE", nodes->first.c_str());
    const int node = v.number(v.need("SLURM_NODEID", nodes->first.c_str()), 0, kMaxRanks);
    info.local_size = tasks_of_node(v, *counts, node);
    if (info.local_size < 1 || info.local_size > info.world_size) {
      v.fail(fmt::format("{} is {}, which does not say how many of the {} tasks node {} runs",
                         counts->first, in_quotes(counts->second), info.world_size, node));
    }
  }
  info.local_rank = v.number(v.need("SLURM_LOCALID", "SLURM_PROCID"), 0, info.local_size - 1,
                             fmt::format(" (this node runs {} tasks)", info.local_size));
  if (!info.single_machine()) info.address = first_slurm_node(nodes->second);
  const auto* job = v.find({"SLURM_JOB_ID", "SLURM_JOBID"});
  if (!job && info.world_size > 1 && !v.has("ORRERY_PORT")) v.need("SLURM_JOB_ID", "SLURM_PROCID");
  if (job) info.port = port_of_job(job->second + '.' + v.text("SLURM_STEP_ID"));
}

// A batch script has SLURM_PROCID=0 too, but only srun starts a process per task.
bool is_slurm_task(const Variables& v) {
  const bool step = v.has("SLURM_STEP_ID") || v.has("SLURM_STEPID");
  return v.has("SLURM_PROCID") && (step || !v.has("SLURM_SUBMIT_DIR"));
}

struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
  void (*read)(const Variables&, RankInfo&);
};
constexpr Launcher kLaunchers[] = {
    {"orrery run", "ORRERY_RANK", "ORRERY_WORLD_SIZE", read_orrery},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", read_open_mpi},
    {"MPICH", "PMI_RANK", "PMI_SIZE", read_mpich},
    {"torchrun", "RANK", "WORLD_SIZE", read_torchrun},
};

const char* find_launcher(const Environment& environment, RankInfo& info) {
  for (const Launcher& launcher : kLaunchers) {
    const Variables v(environment, launcher.name);
    // WORLD_SIZE alone is often exported by hand beside srun.
    const bool only_size = v.has(launcher.size) && !is_slurm_task(v);
    if (!v.has(launcher.rank) && !only_size) continue;
    launcher.read(v, info);
    return launcher.name;
  }
  const Variables v(environment, "Slurm");
  if (!is_slurm_task(v)) return "none";
  read_slurm(v, info);
  return "Slurm";
}

void read_token(const Variables& v, RankInfo& info) {
  if (const auto* token = v.find({"ORRERY_TOKEN"})) {
    if (!is_token(token->second)) {
      v.fail(
          fmt::format("ORRERY_TOKEN is no token: found {} characters, expected {} hexadecimal "
                      "digits",
                      token->second.size(), kTokenDigits));
    }
    info.token = token->second;
    return;
  }
  const auto* job = v.find({"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "PMIX_NAMESPACE",
                            "OMPI_MCA_ess_base_jobid", "PMI_JOBID"});
  info.token = derived_token(fmt::format("{} {} {}:{} {}", info.launcher, info.world_size,
                                         info.address, info.port, job ? job->second : ""));
}

}  // namespace

Environment process_environment() {
  Environment all;
  for (char** entry = ::environ; entry && *entry; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    all.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return all;
}

RankInfo rank_info(const Environment& environment) {
  RankInfo info;
  info.launcher = find_launcher(environment, info);
  const Variables v(environment, info.launcher);
  if (const auto* address = v.find({"ORRERY_ADDRESS"})) info.address = address->second;
  if (const auto* port = v.find({"ORRERY_PORT"})) info.port = v.number(*port, 1, kMaxPort);
  read_token(v, info);
  return info;
}

std::string first_slurm_node(const std::string& list) {
  std::string name;
  std::size_t at = 0;
  while (at < list.size() && list[at] != ',') {
    if (list[at] != '[' && list[at] != ']') {
      name += list[at++];
      continue;
    }
    const std::size_t close = list.find(']', at);
    const std::size_t end = list.find_first_of(",-]", at + 1);
    if (list[at] == ']' || close == std::string::npos || end == at + 1) {
      throw InputError({{"environment (Slurm)", "the node list is " + in_quotes(list) +
                                                    ", expected one like \"gpu[003-010,012]\""}});
    }
    name.append(list, at + 1, end - at - 1);
    at = close + 1;
  }
  return name;
}

}  // namespace orrery
