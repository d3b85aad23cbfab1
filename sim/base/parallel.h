// The one place where the simulator uses threads: independent pieces of work over oneTBB.
#pragma once

#include <cstddef>
#include <functional>

namespace orrery {

// Calls run(0) to run(n - 1), each once, from up to `threads` threads (more than the machine has
// are allowed), and returns when all have returned. A piece that throws ends the loop and its
// exception is thrown here. Throws Error (usage) for several threads in a build without oneTBB.
void for_each_index(std::size_t n, int threads, const std::function<void(std::size_t)>& run);

// The hardware's threads; 1 in a build without oneTBB.
int default_threads();

}  // namespace orrery
