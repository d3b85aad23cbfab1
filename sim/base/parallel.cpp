#include "sim/base/parallel.h"

#include <algorithm>
#include <thread>

#if ORRERY_HAS_TBB
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#endif

#include "sim/base/error.h"

namespace orrery {

#if ORRERY_HAS_TBB

void for_each_index(std::size_t n, int threads, const std::function<void(std::size_t)>& run) {
  const oneapi::tbb::global_control limit(oneapi::tbb::global_control::max_allowed_parallelism,
                                          static_cast<std::size_t>(std::max(1, threads)));
  oneapi::tbb::task_arena arena(threads);
  arena.execute([&] {
    oneapi::tbb::parallel_for(std::size_t{0}, n, run, oneapi::tbb::simple_partitioner());
  });
}

int default_threads() {
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

#else

void for_each_index(std::size_t n, int threads, const std::function<void(std::size_t)>& run) {
  if (threads > 1)
    throw Error(ExitCode::kUsage, "this binary was built without oneTBB: use --threads 1");
  for (std::size_t i = 0; i < n; ++i) run(i);
}

int default_threads() { return 1; }

#endif

}  // namespace orrery
