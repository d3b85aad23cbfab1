#include "sim/base/text.h"

#include <limits>

#include "tests/catch.h"

namespace orrery {
namespace {

TEST_CASE("nearest_name finds slips of the hand", "[base]") {
  const std::vector<std::string> names = {"hbm_bandwidth_GBps", "name", "peak_TFLOPS", "count"};
  CHECK(nearest_name("nmae", names) == "name");   // transposition
  CHECK(nearest_name("nam", names) == "name");    // deletion
  CHECK(nearest_name("names", names) == "name");  // insertion
  CHECK(nearest_name("NAME", names) == "name");   // case
  CHECK(nearest_name("peak_tflop", names) == "peak_TFLOPS");
  CHECK(nearest_name("hbm_bandwith_GBs", names) == "hbm_bandwidth_GBps");
  CHECK(nearest_name("hbm_bw", names) == "hbm_bandwidth_GBps");  // abbreviation
  CHECK(nearest_name("zebra", names).empty());
  CHECK(nearest_name("noun", names).empty());  // two edits are too many for four letters
  CHECK(nearest_name("", names).empty());
  CHECK(nearest_name("name", std::vector<std::string>{}).empty());
}

TEST_CASE("nearest_name prefers the closest, then the first", "[base]") {
  CHECK(nearest_name("abcdef", std::vector<std::string>{"abcdxy", "abcdeg"}) == "abcdeg");
  CHECK(nearest_name("abcx", std::vector<std::string>{"abca", "abcb"}) == "abca");
  CHECK(nearest_name("long", std::vector<std::string>{"l_o_n_g_e_r", "l_o_n_g_s"}) == "l_o_n_g_s");
}

TEST_CASE("nearest_name does not offer a name with nothing in common", "[base]") {
  CHECK(nearest_name("a", std::vector<std::string>{"b"}).empty());
  CHECK(nearest_name("a", std::vector<std::string>{"A"}) == "A");
}

TEST_CASE("join_words", "[base]") {
  const std::vector<std::string_view> words = {"a", "b", "c"};
  CHECK(join_words({}) == "");
  CHECK(join_words(std::span(words).first(1)) == "a");
  CHECK(join_words(std::span(words).first(2)) == "a and b");
  CHECK(join_words(words) == "a, b and c");
}

TEST_CASE("with_commas", "[base]") {
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(-999) == "-999");
  CHECK(with_commas(1000) == "1,000");
  CHECK(with_commas(2664000) == "2,664,000");
  CHECK(with_commas(-123456) == "-123,456");
  CHECK(with_commas(std::numeric_limits<long long>::min()) == "-9,223,372,036,854,775,808");
}

TEST_CASE("in_quotes stays on one line and is cut between code points", "[base]") {
  CHECK(in_quotes("a\"b\\c\nd\te\x1b") == R"("a\"b\\c\nd\te\u001b")");
  CHECK(in_quotes("abcdef", 6) == "\"abcdef\"");
  CHECK(in_quotes("abcdef", 5) == "\"abcde...\"");
  CHECK(in_quotes("ab\u00e9", 3) == "\"ab...\"");
}

TEST_CASE("bytes_text", "[base]") {
  CHECK(bytes_text(100u << 20) == "104,857,600 bytes (100.0 MiB)");
}

TEST_CASE("Table aligns by code points", "[base]") {
  Table table;
  table.row({"name", "µs", "x"});
  table.rule();
  table.row({"é", "1,000", "22"});
  table.row({"only"});
  CHECK(table.str() ==
        "  name     µs   x\n"
        "  ---------------\n"
        "  é     1,000  22\n"
        "  only\n");
  CHECK(table.str("").substr(0, 6) == "name  ");
  CHECK(Table().str().empty());
}

}  // namespace
}  // namespace orrery
