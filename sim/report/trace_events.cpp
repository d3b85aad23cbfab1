#include "sim/report/trace_events.h"

#include <nlohmann/json.hpp>

namespace orrery {

TraceEvents::TraceEvents(const std::string& members)
    : text_(fmt::format(R"({{"schemaVersion":1,"displayTimeUnit":"ms",{},"traceEvents":[)",
                        members)) {}

void TraceEvents::name_process(std::size_t pid, const std::string& name) {
  event(R"({{"ph":"M","name":"process_name","pid":{},"args":{{"name":{}}}}})", pid, quoted(name));
}

void TraceEvents::name_thread(std::size_t pid, std::size_t tid, const std::string& name) {
  event(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":{}}}}})", pid, tid,
        quoted(name));
}

std::string TraceEvents::finish() { return std::move(text_) + "\n]}\n"; }

// Names come from files, so bytes that are no UTF-8 are replaced.
std::string TraceEvents::quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace orrery
