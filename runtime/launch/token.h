// The 128-bit token that the ranks of a job show each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace orrery {

constexpr std::size_t kTokenDigits = 32;

std::string random_token();  // from the system's generator; throws Error when that fails
bool is_token(std::string_view text);
// The same for the same text. Keeps jobs apart, but anyone who knows the text can make it.
std::string derived_token(std::string_view text);

// Takes the same time wherever the texts differ, so that a token cannot be guessed digit by digit.
bool constant_time_equal(std::string_view a, std::string_view b);

uint64_t hash64(std::string_view text, uint64_t start = 0xcbf29ce484222325);  // FNV-1a

}  // namespace orrery
