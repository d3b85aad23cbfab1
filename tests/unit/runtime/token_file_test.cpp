#include "runtime/io/token_file.h"

#include <cstring>
#include <numeric>
#include <set>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery {
namespace {

using testing::content_of;
using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

std::vector<int32_t> counting(int64_t n, int32_t modulus) {
  std::vector<int32_t> tokens(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(i % static_cast<std::size_t>(modulus));
  }
  return tokens;
}

std::string write_tokens(const TemporaryDirectory& directory, const std::vector<int32_t>& tokens,
                         int bytes_per_token, int64_t vocab_size) {
  std::string path = directory.file("tokens");
  TokenFileWriter writer(path, bytes_per_token, vocab_size);
  const std::size_t half = tokens.size() / 2;
  writer.append(std::span(tokens).first(half));
  writer.append(std::span(tokens).subspan(half));
  writer.finish();
  return path;
}

bool tokens_say(const Failure& failure, const std::string& text) {
  INFO(failure.message);
  const bool found = failure.message.find(text) != std::string::npos;
  CHECK(found);
  return found;
}

template <class T>
void put(std::string& content, std::size_t offset, T value) {
  std::memcpy(content.data() + offset, &value, sizeof value);
}

TEST_CASE("a token file has exactly the bytes that its description says", "[io]") {
  const TemporaryDirectory directory;
  const std::string two = content_of(write_tokens(directory, {1, 2, 65535}, 2, 65536));
  std::string header("ORRTOKEN\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\0\0\1\0", 28);
  header.resize(64, '\0');
  CHECK(two == header + std::string("\1\0\2\0\xff\xff", 6));
  const std::string four = content_of(write_tokens(directory, {70000}, 4, 100000));
  CHECK(four.substr(64) == std::string("\x70\x11\1\0", 4));
  CHECK(directory.entries() == 1);
}

TEST_CASE("tokens come back", "[io]") {
  const TemporaryDirectory directory;
  for (const int width : {2, 4}) {
    const std::vector<int32_t> tokens = counting(1001, 777);
    const TokenFile file(write_tokens(directory, tokens, width, 777));
    CHECK(file.token_count() == 1001);
    CHECK(file.vocab_size() == 777);
    CHECK(file.bytes_per_token() == width);
    std::vector<int32_t> all(1001);
    file.read(0, all);
    CHECK(all == tokens);
    std::vector<int32_t> last(1);
    file.read(1000, last);
    CHECK(last[0] == tokens[1000]);
    file.read(1001, {});
    CHECK(failure_of([&] { file.read(1001, last); }).code == ExitCode::kBadInput);
    CHECK(failure_of([&] { file.read(~uint64_t{0}, last); }).code == ExitCode::kBadInput);
  }
  const TokenFile empty(write_tokens(directory, {}, 4, 1));
  CHECK(empty.token_count() == 0);
}

TEST_CASE("a token that is not in the vocabulary is named with its position", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = write_tokens(directory, counting(100, 50), 4, 50);
  std::string content = content_of(path);
  put<uint32_t>(content, 64 + 4 * 70, 50);
  put<uint32_t>(content, 64 + 4 * 80, 0xFFFFFFFF);
  testing::write(path, content);
  const TokenFile file(path);
  std::vector<int32_t> out(10);
  CHECK_NOTHROW(file.read(60, out));
  CHECK(failure_of([&] { file.read(65, out); }).message ==
        path + ": token 50 at position 70 is not in the vocabulary of 50 tokens");
  tokens_say(failure_of([&] { file.read(71, out); }), "token 4294967295 at position 80");

  TokenFileWriter writer(path, 2, 50);
  const std::vector<int32_t> good = {0, 49}, large = {0, 50}, negative = {-1};
  writer.append(good);
  tokens_say(failure_of([&] { writer.append(large); }), "token 50 at position 3");
  tokens_say(failure_of([&] { writer.append(negative); }), "token -1 at position 2");
}

TEST_CASE("a file that is no token file is refused, saying what it may be", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("f");
  const auto failure_with = [&](const std::string& content) {
    testing::write(path, content);
    Failure failure = failure_of([&] { TokenFile file(path); });
    CHECK(failure.code == ExitCode::kBadInput);
    return failure;
  };
  tokens_say(
      failure_with(std::string("\x93NUMPY\1\0v\0", 10) + std::string(100, ' ')),
      "begins with 93 4e 55 4d 50 59 01 00, expected \"ORRTOKEN\"; it looks like a NumPy array");
  tokens_say(failure_with(""), "it is empty");
  tokens_say(failure_with("{\"text\": 1}"), "it looks like JSON text");
  tokens_say(failure_with(std::string(1000, '\1')), "bare token ids need the header");
  CHECK(failure_of([&] { TokenFile file(directory.file("no")); }).code == ExitCode::kNoInput);
}

TEST_CASE("a token file whose header or size is wrong is refused", "[io]") {
  const TemporaryDirectory directory;
  const std::string path = write_tokens(directory, counting(100, 50), 4, 50);
  const std::string good = content_of(path);
  const auto failure_with = [&](const std::string& content) {
    testing::write(path, content);
    Failure failure = failure_of([&] { TokenFile file(path); });
    CHECK(failure.code == ExitCode::kBadInput);
    return failure;
  };
  const auto changed = [&](std::size_t offset, auto value) {
    std::string content = good;
    put(content, offset, value);
    return content;
  };
  tokens_say(failure_with(good.substr(0, 63)), "truncated: found 63 bytes");
  tokens_say(failure_with(good.substr(0, good.size() - 1)),
             "is truncated: found 399 bytes (0.0 MiB) of tokens, expected 100 tokens of 4 bytes");
  tokens_say(failure_with(good.substr(0, good.size() - 4)), "is truncated");
  tokens_say(failure_with(good + "1234"), "is too long");
  tokens_say(failure_with(good + "1"), "is too long");
  tokens_say(failure_with(changed(8, uint32_t{2})), "version 2, expected version 1");
  tokens_say(failure_with(changed(12, uint32_t{3})), "found 3 bytes per token, expected 2 or 4");
  tokens_say(failure_with(changed(12, uint32_t{0})), "found 0 bytes per token");
  tokens_say(failure_with(changed(16, (uint64_t{1} << 62) + 100)), "is truncated");
  tokens_say(failure_with(changed(24, uint32_t{0})), "vocabulary size 0");
  tokens_say(failure_with(changed(24, uint32_t{0x80000000})), "vocabulary size 2147483648");
  tokens_say(failure_with(changed(63, char{1})), "should be zero");
  std::string two = changed(12, uint32_t{2});
  put<uint64_t>(two, 16, 200);
  put<uint32_t>(two, 24, 65537);
  tokens_say(failure_with(two),
             "vocabulary size 65537, expected 1 to 65536 with 2 bytes per token");

  const auto writer = [&](int width, int64_t vocab) {
    return failure_of([&] { TokenFileWriter w(path, width, vocab); }).code;
  };
  CHECK(writer(3, 10) == ExitCode::kBadInput);
  CHECK(writer(2, 65537) == ExitCode::kBadInput);
  CHECK(writer(4, 0) == ExitCode::kBadInput);
}

TEST_CASE("each epoch gives every window once, in an order of its own", "[io]") {
  const TemporaryDirectory directory;
  // Token i is i, so that a sample shows where it is from.
  const TokenFile file(write_tokens(directory, counting(1009, 2000), 2, 2000));
  constexpr int64_t kLength = 16;
  constexpr int64_t kExtra = 2;
  const TokenFileSource source(file, kLength, kExtra, 1);
  CHECK(source.vocab_size() == 2000);
  REQUIRE(source.windows() == 62);  // (1009 - 2) / 16
  std::vector<std::vector<int32_t>> orders;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int32_t> order;
    for (uint64_t i = 0; i < source.windows(); ++i) {
      std::vector<int32_t> out(kLength + kExtra);
      source.sample(epoch * source.windows() + i, out);
      std::vector<int32_t> expected(out.size());
      std::iota(expected.begin(), expected.end(), out[0]);
      CHECK(out == expected);
      CHECK(out[0] % kLength == 0);
      order.push_back(out[0]);
    }
    CHECK(std::set<int32_t>(order.begin(), order.end()).size() == source.windows());
    CHECK_FALSE(std::is_sorted(order.begin(), order.end()));
    for (const auto& other : orders) CHECK(order != other);
    orders.push_back(order);
  }
  // Any index can be had at once, also by another process.
  const TokenFileSource again(file, kLength, kExtra, 1);
  std::vector<int32_t> out(kLength + kExtra);
  again.sample(100, out);
  CHECK(out[0] == orders[1][100 - 62]);
  const TokenFileSource other_seed(file, kLength, kExtra, 2);
  int same = 0;
  for (uint64_t i = 0; i < 62; ++i) same += other_seed.window_of(i) == source.window_of(i) ? 1 : 0;
  CHECK(same < 10);
}

TEST_CASE("a source needs at least one window", "[io]") {
  const TemporaryDirectory directory;
  const TokenFile file(write_tokens(directory, counting(17, 20), 2, 20));
  CHECK(TokenFileSource(file, 16, 1, 0).windows() == 1);
  tokens_say(failure_of([&] { TokenFileSource source(file, 16, 2, 0); }),
             "the file has 17 tokens, but one sequence with its targets needs 18");
  tokens_say(failure_of([&] { TokenFileSource source(file, 1, 100, 0); }), "needs 101");
  CHECK(failure_of([&] { TokenFileSource source(file, 0, 1, 0); }).code == ExitCode::kBadInput);
  CHECK(failure_of([&] { TokenFileSource source(file, 1, -1, 0); }).code == ExitCode::kBadInput);
  std::vector<int32_t> out(16);
  const TokenFileSource source(file, 16, 1, 0);
  CHECK(failure_of([&] { source.sample(0, out); }).code == ExitCode::kInternal);
}

}  // namespace
}  // namespace orrery
