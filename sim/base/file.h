// Whole-file reading with a size limit and crash-safe writing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace orrery {

// The whole file. Missing, unreadable or a directory: InputError with ExitCode::kNoInput. Larger
// than `max_bytes`: InputError that names both sizes; a regular file is then not read at all, and a
// pipe no further than the limit.
std::string read_file(const std::string& path, std::size_t max_bytes);

// Writes a temporary file beside `path`, flushes it to disk, renames it over `path` and flushes
// the directory, so that a reader sees the old content or the new, never a part. Throws Error with
// kCannotCreate (cannot open) or kIoError (write failed); the temporary file is removed. An
// existing file keeps its permission bits, a symbolic link stays a link, and anything that is not a
// regular file (/dev/stdout, a FIFO) is written directly.
void write_file_atomically(const std::string& path, std::string_view content);

}  // namespace orrery
