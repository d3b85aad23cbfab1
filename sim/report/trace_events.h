// A Chrome/Kineto JSON trace, event by event, for ui.perfetto.dev.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <utility>

namespace orrery {

class TraceEvents {
 public:
  // `members` come before the events: R"("traceName":"x")".
  explicit TraceEvents(const std::string& members);

  // `f` is one JSON object.
  template <class... Args>
  void event(fmt::format_string<Args...> f, Args&&... args) {
    text_ += first_ ? "\n" : ",\n";
    first_ = false;
    fmt::format_to(std::back_inserter(text_), f, std::forward<Args>(args)...);
  }
  void name_process(std::size_t pid, const std::string& name);
  void name_thread(std::size_t pid, std::size_t tid, const std::string& name);
  // The whole file; ends the trace.
  std::string finish();

  // With quotes and escapes.
  static std::string quoted(const std::string& text);

 private:
  std::string text_;
  bool first_ = true;
};

}  // namespace orrery
