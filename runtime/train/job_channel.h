// What the processes of a job tell each other beside the training step. The members are collective:
// every process calls the same ones in the same order.
#pragma once

#include <functional>
#include <string>

namespace orrery {

// As constructed, that of a job of one process.
struct JobChannel {
  // Whether this process is the one that speaks and writes for all: that with rank 0.
  bool leader = true;
  // The text of the process that has rank 0; the others' is ignored.
  std::function<std::string(const std::string&)> broadcast = [](const std::string& text) {
    return text;
  };
  // The largest of all processes' values, from 0 to 255.
  std::function<int(int)> largest = [](int value) { return value; };
};

}  // namespace orrery
