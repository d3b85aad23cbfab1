#include "runtime/io/file_kind.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "sim/base/text.h"

namespace orrery {
namespace {

using std::string_view_literals::operator""sv;

struct Kind {
  std::string_view magic;
  std::string_view text;
};

constexpr std::array kKinds = {
    Kind{"\x93NUMPY"sv, "it looks like a NumPy array (.npy)"},
    Kind{"version https://git-lfs"sv,
         "it looks like a Git LFS pointer, not the file itself (run: git lfs pull)"},
    Kind{"PK\x03\x04"sv,
         "it looks like a zip archive, as PyTorch (.pt, .bin) and NumPy (.npz) write"},
    Kind{"\x80\x02"sv, "it looks like a Python pickle (.pkl, an old PyTorch .pt)"},
    Kind{"\x80\x04"sv, "it looks like a Python pickle (.pkl, an old PyTorch .pt)"},
    Kind{"\x1f\x8b"sv, "it looks compressed (gzip)"},
    Kind{"\x28\xb5\x2f\xfd"sv, "it looks compressed (zstd)"},
    Kind{"\xfd\x37zXZ"sv, "it looks compressed (xz)"},
    Kind{"MMIDIDX\0\0"sv, "it looks like the index of a Megatron-LM data set (.idx)"},
    Kind{"PAR1"sv, "it looks like a Parquet table"},
    Kind{"ARROW1"sv, "it looks like an Arrow table"},
    Kind{"GGUF"sv, "it looks like a GGUF model"},
    Kind{"\x89HDF"sv, "it looks like an HDF5 file"},
    Kind{"ORRTOKEN"sv, "it looks like an Orrery token file"},
    Kind{"{"sv, "it looks like JSON text"},
    Kind{"["sv, "it looks like JSON text"},
};

}  // namespace

std::string guess_file_kind(std::span<const std::byte> content) {
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  if (text.empty()) return "it is empty";
  for (const Kind& kind : kKinds) {
    if (text.starts_with(kind.magic)) return std::string(kind.text);
  }
  // A header length below 2^32, then the header's opening brace.
  if (text.size() > 8 && text.substr(4, 4) == "\0\0\0\0"sv && text[8] == '{') {
    return "it looks like a safetensors file";
  }
  return "";
}

std::string first_bytes_text(std::span<const std::byte> content) {
  content = content.first(std::min<std::size_t>(content.size(), 8));
  std::string digits, letters;
  for (const std::byte b : content) {
    char digit[4];
    std::snprintf(digit, sizeof digit, "%02x", std::to_integer<unsigned>(b));
    digits += digits.empty() ? digit : std::string(" ") + digit;
    const char c = static_cast<char>(b);
    if (c >= 0x20 && c < 0x7F) letters += c;
  }
  const bool printable = !content.empty() && letters.size() == content.size();
  return printable ? digits + " (" + in_quotes(letters) + ")" : digits;
}

}  // namespace orrery
