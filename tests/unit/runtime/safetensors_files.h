// Files in the safetensors format, whole or broken, made by hand.
#pragma once

#include <cstdint>
#include <string>

namespace orrery::testing {

inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

}  // namespace orrery::testing
