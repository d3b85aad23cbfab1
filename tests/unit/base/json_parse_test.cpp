#include <filesystem>

#include "sim/base/json_reader.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery::json {
namespace {

using testing::Failure;
using testing::failure_of;
using testing::TemporaryDirectory;

std::string parse_error(std::string_view text) {
  const Failure failure = failure_of([&] { parse_json(text, "f.json"); });
  if (!failure.message.empty()) CHECK(failure.code == ExitCode::kBadInput);
  return failure.message;
}

TEST_CASE("every kind of value is read", "[json]") {
  const Node root = parse_json(
      R"( {"n":null,"t":true,"f":false,"i":-12,"x":1.5,"s":"a\u00e9\n","a":[1,[]],"o":{}} )", "f");
  REQUIRE(root.kind == Node::Kind::kObject);
  REQUIRE(root.members.size() == 8);
  CHECK(root.members[0].first == "n");
  CHECK(root.find("n")->kind == Node::Kind::kNull);
  CHECK(root.find("t")->boolean);
  CHECK(root.find("f")->kind == Node::Kind::kBool);
  CHECK_FALSE(root.find("f")->boolean);
  CHECK(root.find("i")->kind == Node::Kind::kInteger);
  CHECK(root.find("i")->integer == -12);
  CHECK(root.find("i")->number == -12.0);
  CHECK(root.find("x")->kind == Node::Kind::kNumber);
  CHECK(root.find("x")->number == 1.5);
  CHECK(root.find("s")->string == "a\u00e9\n");
  REQUIRE(root.find("a")->items.size() == 2);
  CHECK(root.find("a")->items[0].integer == 1);
  CHECK(root.find("a")->items[1].kind == Node::Kind::kArray);
  CHECK(root.find("o")->kind == Node::Kind::kObject);
  CHECK(root.find("missing") == nullptr);
}

TEST_CASE("integers beyond int64 become numbers", "[json]") {
  const Node root = parse_json(
      "[9223372036854775807,9223372036854775808,-9223372036854775808,-9223372036854775809,"
      "18446744073709551616,-0,4.0]",
      "f");
  using Kind = Node::Kind;
  const Kind kinds[] = {Kind::kInteger, Kind::kNumber,  Kind::kInteger, Kind::kNumber,
                        Kind::kNumber,  Kind::kInteger, Kind::kNumber};
  REQUIRE(root.items.size() == std::size(kinds));
  for (std::size_t i = 0; i < std::size(kinds); ++i) {
    CAPTURE(i);
    CHECK(root.items[i].kind == kinds[i]);
  }
  CHECK(root.items[0].integer == std::numeric_limits<int64_t>::max());
  CHECK(root.items[1].number == 0x1p63);
  CHECK(root.items[2].integer == std::numeric_limits<int64_t>::min());
}

TEST_CASE("each value knows where it starts", "[json]") {
  const Node root = parse_json(
      "{\"a\": 12,\n"
      "  \"b\" :\t[ 1,-2.5e1 , \"x\\\"]\",true],\r\n"
      "\n"
      "\"ä€\":{\"c\":null},\"d\":18446744073709551615,\"e\" : 0}",
      "dir/f.json");
  const auto at = [](const Node* node) { return node->where(""); };
  CHECK(at(&root) == "dir/f.json:1:1");
  CHECK(at(root.find("a")) == "dir/f.json:1:7");
  const Node* b = root.find("b");
  CHECK(at(b) == "dir/f.json:2:9");
  CHECK(at(&b->items[0]) == "dir/f.json:2:11");
  CHECK(at(&b->items[1]) == "dir/f.json:2:13");
  CHECK(at(&b->items[2]) == "dir/f.json:2:22");
  CHECK(at(&b->items[3]) == "dir/f.json:2:29");
  CHECK(at(root.find("ä€")) == "dir/f.json:4:6");  // columns are code points
  CHECK(at(root.find("ä€")->find("c")) == "dir/f.json:4:11");
  CHECK(at(root.find("d")) == "dir/f.json:4:21");
  CHECK(at(root.find("e")) == "dir/f.json:4:48");
  CHECK(root.where("/x") == "dir/f.json:1:1 /x");
}

TEST_CASE("a byte order mark is skipped", "[json]") {
  CHECK(parse_json("\xEF\xBB\xBF[7]", "f").items[0].where("") == "f:1:2");
  CHECK(parse_error("\xEF\xBB\xBF[7,]").starts_with("f.json:1:4: unexpected ']'"));
}

struct BadText {
  std::string_view text;
  const char* message;
};

TEST_CASE("a syntax error says where, what, and what was expected", "[json]") {
  const BadText cases[] = {
      {"", "1:1: the file is empty; expected a JSON value"},
      {" \n ", "2:2: the file is empty; expected a JSON value"},
      {"{\"a\": 1,\n \"b\": [2,\n",
       "3:1: unexpected end of file inside an array; expected a value "
       "(the file ends too early)"},
      {"{\"a\": {\n  \"b\": 1",
       "2:9: unexpected end of file inside an object; expected ',' or '}' "
       "(the file ends too early)"},
      {"{\"a\"",
       "1:5: unexpected end of file inside an object; expected ':' after a key (the file "
       "ends too early)"},
      {"{",
       "1:2: unexpected end of file inside an object; expected a key in double quotes or '}' "
       "(the file ends too early)"},
      {"[\"abc",
       "1:6: unexpected end of file inside a string; expected a closing '\"' (the file "
       "ends too early)"},
      {"[tru",
       "1:5: unexpected end of file inside \"tru\"; expected the rest of the value (the "
       "file ends too early)"},
      {"[1.",
       "1:4: unexpected end of file inside \"1.\"; expected the rest of the value (the file "
       "ends too early)"},
      {"{\"a\": 1 \"b\": 2}", "1:9: unexpected string; expected ',' or '}'"},
      {"{\"a\" 1}", "1:6: unexpected \"1\"; expected ':' after a key"},
      {"{\"a\": 1,}",
       "1:9: unexpected '}'; expected a key in double quotes (remove the comma "
       "before it)"},
      {"[1,\n]", "2:1: unexpected ']'; expected a value (remove the comma before it)"},
      {"{a: 1}", "1:2: unexpected \"a\"; expected a key in double quotes or '}'"},
      {"{1: 1}", "1:2: unexpected \"1\"; expected a key in double quotes or '}'"},
      {"[1}", "1:3: unexpected '}'; expected ',' or ']'"},
      {"[,1]", "1:2: unexpected ','; expected a value or ']'"},
      {"[1,,2]", "1:4: unexpected ','; expected a value"},
      {"{\"a\":1,,}", "1:8: unexpected ','; expected a key in double quotes"},
      {"{\"a\"::1}", "1:6: unexpected ':'; expected a value"},
      {"[1] [2]", "1:5: unexpected '['; expected the end of the file"},
      {"{}x", "1:3: unexpected \"x\"; expected the end of the file"},
      {"{} tru", "1:4: unexpected \"tru\"; expected the end of the file"},
      {"1 2", "1:3: unexpected \"2\"; expected the end of the file"},
      {std::string_view("{}\0x", 4), "1:3: unexpected byte 0x00; expected the end of the file"},
      {std::string_view("[\0]", 3), "1:2: unexpected byte 0x00; expected a value or ']'"},
      {"[\xFF]", "1:2: unexpected byte 0xFF; expected a value or ']'"},
      {"['a']",
       "1:2: unexpected single quote; expected a value or ']' (JSON strings are in double "
       "quotes)"},
      {"[1] // x", "1:5: unexpected '/'; expected the end of the file (JSON has no comments)"},
      {"# x\n[1]", "1:1: unexpected '#'; expected a JSON value (JSON has no comments)"},
      {"[True]",
       "1:2: unexpected \"True\"; expected a value or ']' (JSON writes true, false and "
       "null)"},
      {"[nul]", "1:2: unexpected \"nul\"; expected a value or ']'"},
  };
  for (const BadText& bad : cases) {
    CAPTURE(bad.text);
    CHECK(parse_error(bad.text) == std::string("f.json:") + bad.message);
  }
}

TEST_CASE("numbers that JSON or a double cannot hold are refused", "[json]") {
  for (const char* text : {"NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "+Inf"}) {
    CHECK(parse_error("{\"a\":\n  " + std::string(text) + "}") ==
          "f.json:2:3: found " + std::string(text) +
              ", which JSON does not have; expected a finite number");
  }
  for (const char* text : {"1.", ".5", "+1", "-", "1e", "1.x", "--1", "1e+"}) {
    CHECK(parse_error("[0, " + std::string(text) + "]") ==
          "f.json:1:5: found \"" + std::string(text) +
              "\", which is not a JSON number; expected a number such as 12, 0.5 or 1e9");
  }
  CHECK(parse_error("[01]") == "f.json:1:3: unexpected \"1\"; expected ',' or ']'");
  CHECK(parse_error("[-01]") == "f.json:1:4: unexpected \"1\"; expected ',' or ']'");
  CHECK(parse_error("[1.2.3]") == "f.json:1:5: unexpected \".3\"; expected ',' or ']'");
  for (const char* text : {"1e999", "-1e999"}) {
    CHECK(parse_error("[\n" + std::string(text) + "]") ==
          "f.json:2:1: found \"" + std::string(text) +
              "\", which is too large for a number; expected a magnitude below 1.8e308");
  }
  CHECK(parse_error("1e999").starts_with("f.json:1:1: found \"1e999\", which is too large"));
  CHECK(parse_error("[1e308,1e-999]").empty());
}

TEST_CASE("bad strings are refused at the bad character", "[json]") {
  CHECK(parse_error("[\"a\xFF\"]") == "f.json:1:4: invalid string: ill-formed UTF-8 byte");
  CHECK(parse_error("[\"a\xC0\x80\"]") == "f.json:1:4: invalid string: ill-formed UTF-8 byte");
  CHECK(parse_error("{\"\xED\xA0\x80\":1}").find("ill-formed UTF-8 byte") != std::string::npos);
  CHECK(parse_error("[\"\\x\"]").starts_with("f.json:1:4: invalid string: forbidden character"));
  CHECK(parse_error("[\"\\ud800\"]").find("surrogate") != std::string::npos);
  CHECK(parse_error("[\"a\tb\"]")
            .starts_with("f.json:1:4: invalid string: control character U+0009"));
  CHECK(parse_error("[1,\n \"abc\n\"]") ==
        "f.json:2:2: the string does not end on its line; expected a closing '\"' (a line break in "
        "a string is written \\n)");
}

TEST_CASE("every duplicate key is reported", "[json]") {
  CHECK(parse_error("{\"a\": 1,\n \"b\": {\"x\": 1, \"x\": 2},\n \"a\": 3}") ==
        "f.json:2:21: duplicate key \"x\", found before at line 2 column 13; remove one of the "
        "two\n"
        "f.json:3:7: duplicate key \"a\", found before at line 1 column 7; remove one of the two");
  CHECK(parse_error("{\"a\": 1, \"\\u0061\": 2}").find("duplicate key \"a\"") != std::string::npos);
  CHECK(parse_error("[{\"a\": 1}, {\"a\": 2}]").empty());
  CHECK(parse_error("{\"a\": {\"a\": 2}, \"A\": 1}").empty());
  CHECK(parse_error("{\"o\": {\"a\": 1, \"a\": 2}, x}") ==
        "f.json:1:21: duplicate key \"a\", found before at line 1 column 13; remove one of the "
        "two\nf.json:1:25: unexpected \"x\"; expected a key in double quotes");
}

TEST_CASE("duplicate keys of a large object are found quickly", "[json]") {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  CHECK(parse_error(text + "\"last\":0}").empty());
  CHECK(parse_error(text + "\"k7\":0}").find("duplicate key \"k7\"") != std::string::npos);
}

TEST_CASE("nesting is limited", "[json]") {
  const std::string open(kMaxDepth, '['), close(kMaxDepth, ']');
  CHECK(parse_error(open + close).empty());
  const std::string expected =
      "f.json:1:65: found more than 64 nested arrays and objects, expected at most 64";
  CHECK(parse_error("[" + open + close + "]") == expected);
  CHECK(parse_error(std::string(100'000, '[')) == expected);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(parse_error(objects).starts_with("f.json:1:321: found more than 64 nested"));
}

TEST_CASE("a document cut at any byte is an error, never a crash", "[json]") {
  const std::string text =
      "\xEF\xBB\xBF{\"name\": \"h\u00e9 \\u00e9\\n\", \"list\": [1, -2.5e+10, true, false, null],\n"
      " \"nested\": {\"deep\": [{\"x\": [[]]}, {}]}, \"big\": 18446744073709551616}";
  REQUIRE(parse_error(text).empty());
  for (std::size_t size = 0; size < text.size(); ++size) {
    CAPTURE(size);
    const std::string message = parse_error(text.substr(0, size));
    CHECK(message.starts_with("f.json:"));
    const bool says_so = message.find("end of file") != std::string::npos ||
                         message.find("empty") != std::string::npos ||
                         size < 3;  // half a byte order mark
    CHECK(says_so);
  }
  for (std::size_t size = 1; size <= 4; ++size) {
    CHECK(parse_json(std::string_view("1234").substr(0, size), "f").kind == Node::Kind::kInteger);
  }
}

TEST_CASE("any changed byte is read or refused, never a crash", "[json]") {
  const std::string text = R"({"a":[1,-2.5e+1,true,null],"b\u00e9":{"c":"d\n"}})";
  int refused = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = static_cast<char>(byte);
      const Failure failure = failure_of([&] { parse_json(changed, "f"); });
      if (!failure.message.empty()) ++refused;
    }
  }
  CHECK(refused > 5000);
}

TEST_CASE("a file that is too large is refused without being read", "[json]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("big.json");
  testing::write(path, "{}");
  std::filesystem::resize_file(path, 100u << 20);  // sparse
  const Failure failure = failure_of([&] { parse_json_file(path); });
  CHECK(failure.message == path +
                               ": the file is too large: found 104,857,600 bytes (100.0 MiB), "
                               "expected at most 67,108,864 bytes (64.0 MiB)");
  CHECK(failure.code == ExitCode::kBadInput);
}

TEST_CASE("a text that is too large is refused", "[json]") {
  std::string text(kMaxFileBytes, ' ');
  text[0] = '1';
  CHECK(parse_json(text, "f").integer == 1);
  text += ' ';
  CHECK(parse_error(text).starts_with("f.json: the file is too large: found 67,108,865 bytes"));
}

TEST_CASE("a file is named in its errors", "[json]") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a.json");
  testing::write(path, "{\"a\": [1, 2}");
  CHECK(failure_of([&] { parse_json_file(path); }).message ==
        path + ":1:12: unexpected '}'; expected ',' or ']'");
  testing::write(path, "{\"a\": [1, 2]}");
  CHECK(parse_json_file(path).find("a")->where("/a") == path + ":1:7 /a");
  CHECK(failure_of([&] { parse_json_file(path + "x"); }).code == ExitCode::kNoInput);
}

}  // namespace
}  // namespace orrery::json
