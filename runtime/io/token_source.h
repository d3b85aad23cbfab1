// Where training tokens come from.
#pragma once

#include <cstdint>
#include <span>

namespace orrery {

// Sequence number `index` is a function of the index alone: not of the batch it is part of, of the
// rank that asks or of what was asked before. So a job resumes by going on with the next index.
// Safe to call from several threads.
class TokenSource {
 public:
  TokenSource() = default;
  virtual ~TokenSource() = default;
  TokenSource(const TokenSource&) = delete;
  TokenSource& operator=(const TokenSource&) = delete;

  virtual int64_t vocab_size() const = 0;  // every token is in [0, vocab_size())
  virtual void sample(uint64_t index, std::span<int32_t> out) const = 0;
};

}  // namespace orrery
