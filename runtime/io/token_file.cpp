#include "runtime/io/token_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "runtime/io/counter_random.h"
#include "runtime/io/fail.h"
#include "runtime/io/file_kind.h"
#include "sim/base/error.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::array<char, 8> kTokenMagic = {'O', 'R', 'R', 'T', 'O', 'K', 'E', 'N'};
constexpr uint32_t kVersion = 1;

struct Header {
  std::array<char, 8> magic = kTokenMagic;
  uint32_t version = kVersion;
  uint32_t bytes_per_token = 0;
  uint64_t count = 0;
  uint32_t vocab_size = 0;
  std::array<char, 36> zeros = {};
};
static_assert(sizeof(Header) == 64);

std::string count_text(uint64_t n) { return with_commas(static_cast<long long>(n)); }

[[noreturn]] void fail_no_token_file(const MappedFile& file) {
  const std::string kind = guess_file_kind(file.bytes());
  fail(file.path(),
       "this is not a token file: it begins with " + first_bytes_text(file.bytes()) +
           ", expected \"ORRTOKEN\"" +
           (kind.empty() ? "; bare token ids need the header that runtime/io/token_file.h describes"
                         : "; " + kind));
}

// What is wrong with element size and vocabulary, or "".
std::string format_problem(int64_t bytes_per_token, int64_t vocab_size) {
  if (bytes_per_token != 2 && bytes_per_token != 4) {
    return "found " + std::to_string(bytes_per_token) + " bytes per token, expected 2 or 4";
  }
  const int64_t most = bytes_per_token == 2 ? 65536 : std::numeric_limits<int32_t>::max();
  if (vocab_size < 1 || vocab_size > most) {
    return "found vocabulary size " + std::to_string(vocab_size) + ", expected 1 to " +
           std::to_string(most) + " with " + std::to_string(bytes_per_token) + " bytes per token";
  }
  return "";
}

Header read_header(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  const std::string& path = file.path();
  Header header;
  const std::size_t have = std::min(bytes.size(), sizeof header);
  if (have > 0) std::memcpy(&header, bytes.data(), have);
  if (have < sizeof kTokenMagic || header.magic != kTokenMagic) fail_no_token_file(file);
  if (have < sizeof header) {
    fail(path, "the token file is truncated: found " + bytes_text(have) +
                   ", expected a header of 64 bytes");
  }
  if (header.version != kVersion) {
    fail(path, "found a token file of version " + std::to_string(header.version) +
                   ", expected version " + std::to_string(kVersion));
  }
  const std::string problem = format_problem(header.bytes_per_token, header.vocab_size);
  if (!problem.empty()) fail(path, problem);
  if (header.zeros != Header{}.zeros) {
    fail(path, "bytes 28 to 63 of the header should be zero; the header is damaged");
  }
  // Divided rather than multiplied: the count may be anything.
  const uint64_t data = bytes.size() - sizeof header;
  if (data % header.bytes_per_token != 0 || data / header.bytes_per_token != header.count) {
    fail(path, "the token file " +
                   std::string(data / header.bytes_per_token < header.count ? "is truncated"
                                                                            : "is too long") +
                   ": found " + bytes_text(data) + " of tokens, expected " +
                   std::to_string(header.count) + " tokens of " +
                   std::to_string(header.bytes_per_token) + " bytes");
  }
  return header;
}

template <class Id>
void read_ids(std::span<const std::byte> bytes, std::span<int32_t> out) {
  // The header keeps the ids aligned; memcpy of a constant size compiles to a plain load.
  for (std::size_t i = 0; i < out.size(); ++i) {
    Id id;
    std::memcpy(&id, bytes.data() + i * sizeof id, sizeof id);
    out[i] = static_cast<int32_t>(id);
  }
}

}  // namespace

TokenFile::TokenFile(const std::string& path) : file_(path) {
  const Header header = read_header(file_);
  ids_ = file_.bytes().subspan(sizeof header);
  count_ = header.count;
  vocab_size_ = header.vocab_size;
  bytes_per_token_ = static_cast<int>(header.bytes_per_token);
}

void TokenFile::read(uint64_t first, std::span<int32_t> out) const {
  if (first > count_ || out.size() > count_ - first) {
    fail(path(), "tokens " + count_text(first) + " to " + count_text(first + out.size()) +
                     " are not in the file, which has " + count_text(count_));
  }
  const auto width = static_cast<std::size_t>(bytes_per_token_);
  const std::span<const std::byte> bytes = ids_.subspan(first * width, out.size() * width);
  if (bytes_per_token_ == 2) {
    read_ids<uint16_t>(bytes, out);
  } else {
    read_ids<uint32_t>(bytes, out);
  }
  // An id beyond 2^31 has become negative.
  const auto outside = [this](int32_t id) { return id < 0 || id >= vocab_size_; };
  const auto bad = std::find_if(out.begin(), out.end(), outside);
  if (bad != out.end()) {
    fail(path(), "token " + std::to_string(static_cast<uint32_t>(*bad)) + " at position " +
                     count_text(first + static_cast<uint64_t>(bad - out.begin())) +
                     " is not in the vocabulary of " + std::to_string(vocab_size_) + " tokens");
  }
}

TokenFileSource::TokenFileSource(const TokenFile& file, int64_t length, int64_t extra,
                                 uint64_t seed)
    : file_(file),
      length_(static_cast<uint64_t>(length)),
      extra_(static_cast<uint64_t>(extra)),
      seed_(seed) {
  if (length < 1 || extra < 0) {
    fail(file.path(), "found sequences of " + std::to_string(length) + " tokens and " +
                          std::to_string(extra) + " more, expected at least 1 and 0");
  }
  const uint64_t count = file.token_count();
  if (count >= extra_) windows_ = (count - extra_) / length_;
  if (windows_ == 0) {
    fail(file.path(), "the file has " + count_text(count) +
                          " tokens, but one sequence with its targets needs " +
                          count_text(length_ + extra_));
  }
}

uint64_t TokenFileSource::window_of(uint64_t index) const {
  const uint64_t epoch = index / windows_;
  return permuted(stream_key(seed_, epoch), windows_, index % windows_);
}

void TokenFileSource::sample(uint64_t index, std::span<int32_t> out) const {
  if (out.size() != length_ + extra_) {
    throw Error(ExitCode::kInternal, file_.path() + ": asked for " + std::to_string(out.size()) +
                                         " tokens, expected " + std::to_string(length_ + extra_));
  }
  file_.read(window_of(index) * length_, out);
}

TokenFileWriter::TokenFileWriter(std::string path, int bytes_per_token, int64_t vocab_size,
                                 DiskHook hook)
    : file_(std::move(path), std::move(hook)),
      bytes_per_token_(bytes_per_token),
      vocab_size_(vocab_size) {
  const std::string problem = format_problem(bytes_per_token, vocab_size);
  if (!problem.empty()) fail(file_.path(), problem);
  const Header placeholder{};
  file_.file().append(std::as_bytes(std::span(&placeholder, 1)));
}

void TokenFileWriter::append(std::span<const int32_t> tokens) {
  const auto outside = [this](int32_t id) { return id < 0 || id >= vocab_size_; };
  const auto bad = std::find_if(tokens.begin(), tokens.end(), outside);
  if (bad != tokens.end()) {
    fail(file_.path(), "token " + std::to_string(*bad) + " at position " +
                           count_text(count_ + static_cast<uint64_t>(bad - tokens.begin())) +
                           " is not in the vocabulary of " + std::to_string(vocab_size_) +
                           " tokens");
  }
  if (bytes_per_token_ == 2) {
    std::vector<uint16_t> narrow(tokens.size());
    std::transform(tokens.begin(), tokens.end(), narrow.begin(),
                   [](int32_t id) { return static_cast<uint16_t>(id); });
    file_.file().append(std::as_bytes(std::span(narrow)));
  } else {
    file_.file().append(std::as_bytes(tokens));
  }
  count_ += tokens.size();
}

void TokenFileWriter::finish() {
  Header header;
  header.bytes_per_token = static_cast<uint32_t>(bytes_per_token_);
  header.count = count_;
  header.vocab_size = static_cast<uint32_t>(vocab_size_);
  file_.file().write_at(0, std::as_bytes(std::span(&header, 1)));
  file_.commit();
}

}  // namespace orrery
