// The flight record of a failed rank as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include "runtime/launch/flight_recorder.h"

namespace orrery {

struct FlightReport {
  std::string text, json;
};

// Looks at the recorder and at the streams' progress now. Streams are FIFO: what comes before a
// completed launch is completed too, whatever its own event says (it may have been used again).
FlightReport make_flight_report(const FlightRecorder& recorder, const FlightReaders& readers,
                                int rank, const std::string& reason);

// Writes flight_rank3.txt and flight_rank3.json into `directory`; returns the path of the former.
// Throws Error when a file cannot be written.
std::string write_flight_report(const FlightReport& report, const std::string& directory, int rank);

}  // namespace orrery
