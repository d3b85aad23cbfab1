#include "runtime/io/file_kind.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "sim/base/text.h"

namespace orrery {
namespace {

using std::string_view_literals::operator""sv;

struct KnownKind {
  std::string_view magic;
  std::string_view text;
};

constexpr std::array kKinds = {
    KnownKind{"\x93NUMPY"sv, "it looks like a NumPy array (.npy)"},
    KnownKind{"version https://git-lfs"sv,
              "it looks like a Git LFS pointer, not the file itself (run: git lfs pull)"},
    KnownKind{"PK\x03\x04"sv,
              "it looks like a zip archive, as PyTorch (.pt, .bin) and NumPy (.npz) write"},
    KnownKind{"\x80\x02"sv, "it looks like a Python pickle (.pkl, an old PyTorch .pt)"},
    KnownKind{"\x80\x04"sv, "it looks like a Python pickle (.pkl, an old PyTorch .pt)"},
    KnownKind{"\x1f\x8b"sv, "it looks compressed (gzip)"},
    KnownKind{"\x28\xb5\x2f\xfd"sv, "it looks compressed (zstd)"},
    KnownKind{"\xfd\x37zXZ"sv, "it looks compressed (xz)"},
    KnownKind{"MMIDIDX\0\0"sv, "it looks like the index of a Megatron-LM data set (.idx)"},
    KnownKind{"PAR1"sv, "it looks like a Parquet table"},
    KnownKind{"ARROW1"sv, "it looks like an Arrow table"},
    KnownKind{"GGUF"sv, "it looks like a GGUF model"},
    KnownKind{"\x89HDF"sv, "it looks like an HDF5 file"},
    KnownKind{"ORRTOKEN"sv, "it looks like an Orrery token file"},
    KnownKind{"{"sv, "it looks like JSON text"},
    KnownKind{"["sv, "it looks like JSON text"},
};

}  // namespace

std::string guess_file_kind(std::span<const std::byte> content) {
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  if (text.empty()) return "it is empty";
  for (const KnownKind& kind : kKinds) {
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
