// What a file that is not of the expected format seems to be.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace orrery {

// A sentence fragment for a message, by the first bytes: "it looks like a NumPy array (.npy)", and
// what to do where that is known; "" when nothing is recognised.
std::string guess_file_kind(std::span<const std::byte> content);

// The first bytes as hexadecimal digits and, where they are printable, characters; at most 8.
std::string first_bytes_text(std::span<const std::byte> content);

}  // namespace orrery
