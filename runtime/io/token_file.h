// A corpus of token ids in one file: a 64-byte header (magic "ORRTOKEN", uint32 version 1, uint32
// bytes per token (2 or 4), uint64 number of tokens, uint32 vocabulary size, zeros), then the ids.
// Everything is little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/io/durable_file.h"
#include "runtime/io/mapped_file.h"
#include "runtime/io/token_source.h"

namespace orrery {

class TokenFile {
 public:
  // Maps the file and checks its header and size. Throws InputError; missing: kNoInput.
  explicit TokenFile(const std::string& path);

  uint64_t token_count() const { return count_; }
  int64_t vocab_size() const { return vocab_size_; }
  int bytes_per_token() const { return bytes_per_token_; }
  const std::string& path() const { return file_.path(); }

  // Tokens [first, first + out.size()), which must be in the file. Throws InputError naming the
  // position of a token that is not in the vocabulary.
  void read(uint64_t first, std::span<int32_t> out) const;

 private:
  MappedFile file_;
  std::span<const std::byte> ids_;
  uint64_t count_ = 0;
  int64_t vocab_size_ = 0;
  int bytes_per_token_ = 0;
};

// Cuts a token file into windows and gives them in a new order each epoch.
//
// Window w begins at token w * length, so that windows do not overlap, and has `length + extra`
// tokens: the `extra` ones are targets (1 for the next token, plus the depth of multi-token
// prediction). Tokens after the last whole window are not used. Sequence `index` is in epoch
// index / windows(), at place index % windows() of the permutation that seed and epoch select.
class TokenFileSource : public TokenSource {
 public:
  // `file` must outlive the source. Throws InputError when not even one window fits.
  TokenFileSource(const TokenFile& file, int64_t length, int64_t extra, uint64_t seed);

  int64_t vocab_size() const override { return file_.vocab_size(); }
  // out.size() must be length + extra. Throws InputError as TokenFile::read.
  void sample(uint64_t index, std::span<int32_t> out) const override;

  uint64_t windows() const { return windows_; }
  uint64_t window_of(uint64_t index) const;

 private:
  const TokenFile& file_;
  uint64_t length_;
  uint64_t extra_;
  uint64_t seed_;
  uint64_t windows_ = 0;
};

// The file appears under its name at finish().
class TokenFileWriter {
 public:
  // bytes_per_token is 2 (vocabulary up to 65536) or 4. Throws InputError for other values.
  TokenFileWriter(std::string path, int bytes_per_token, int64_t vocab_size, DiskHook hook = {});

  void append(std::span<const int32_t> tokens);  // InputError for one that is not in the vocabulary
  void finish();

 private:
  AtomicFile file_;
  int bytes_per_token_;
  int64_t vocab_size_;
  uint64_t count_ = 0;
};

}  // namespace orrery
