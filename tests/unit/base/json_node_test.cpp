#include "sim/base/json_reader.h"
#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery::json {
namespace {

using testing::failure_of;

constexpr const char* kDocument = R"({
  "name": "c",
  "nodes": [{"count": 8}, {"count": 4}],
  "empty": {}, "none": [],
  "a/b": {"m~n": 1, "": 2},
  "gpu": {
    "peak_TFLOPS": {"value": 989, "source": "datasheet", "reference": "url"},
    "price": {"value": 2, "source": "quote"},
    "plain": {"value": 3}
  }
})";

std::string set_error(std::string_view pointer, std::string_view text = "1") {
  Node root = parse_json(kDocument, "f.json");
  const testing::Failure failure = failure_of([&] { set_at_pointer(root, pointer, text); });
  if (!failure.message.empty()) CHECK(failure.code == ExitCode::kBadInput);
  return failure.message;
}

TEST_CASE("where names what is known", "[json]") {
  Node node;
  CHECK(node.where("/a") == "/a");
  node.file = std::make_shared<const std::string>("f\n.json");
  CHECK(node.where("/a") == "f\\n.json /a");
  node.line = 3;
  node.column = 4;
  CHECK(node.where("/a\x1b") == "f\\n.json:3:4 /a\\u001b");
  CHECK(node.where("") == "f\\n.json:3:4");
}

TEST_CASE("child_pointer escapes", "[json]") {
  CHECK(child_pointer("", "a") == "/a");
  CHECK(child_pointer("/x", "b/c~d") == "/x/b~1c~0d");
  CHECK(child_pointer("/x", "") == "/x/");
}

TEST_CASE("set_at_pointer replaces any value", "[json]") {
  Node root = parse_json(kDocument, "f.json");
  set_at_pointer(root, "/name", "\"quoted\"");
  CHECK(root.find("name")->string == "quoted");
  CHECK(root.find("name")->where("/name") == "--set /name");
  set_at_pointer(root, "/name", "plain text");
  CHECK(root.find("name")->string == "plain text");
  set_at_pointer(root, "/name", "");
  CHECK(root.find("name")->kind == Node::Kind::kString);
  set_at_pointer(root, "/name", "NaN");
  CHECK(root.find("name")->string == "NaN");
  set_at_pointer(root, "/name", "-3");
  CHECK(root.find("name")->integer == -3);
  set_at_pointer(root, "/name", " true ");
  CHECK(root.find("name")->boolean);
  set_at_pointer(root, "/nodes/1/count", "16");
  CHECK(root.find("nodes")->items[1].find("count")->integer == 16);
  CHECK(root.find("nodes")->items[0].find("count")->integer == 8);
  set_at_pointer(root, "/a~1b/m~0n", "5");
  CHECK(root.find("a/b")->find("m~n")->integer == 5);
  set_at_pointer(root, "/a~1b/", "6");
  CHECK(root.find("a/b")->find("")->integer == 6);
  set_at_pointer(root, "/empty", R"({"x": [1]})");
  CHECK(root.find("empty")->find("x")->items[0].where("/empty/x/0") == "--set /empty/x/0");
}

TEST_CASE("a number set on a sourced number becomes an assumption", "[json]") {
  for (const char* pointer : {"/gpu/peak_TFLOPS", "/gpu/peak_TFLOPS/value"}) {
    CAPTURE(pointer);
    Node root = parse_json(kDocument, "f.json");
    set_at_pointer(root, pointer, "500.5");
    const Node* peak = root.find("gpu")->find("peak_TFLOPS");
    REQUIRE(peak->members.size() == 3);
    CHECK(peak->find("value")->number == 500.5);
    CHECK(peak->find("source")->string == "assumed");
    CHECK(peak->find("reference")->string == "set on the command line");
  }
  Node root = parse_json(kDocument, "f.json");
  set_at_pointer(root, "/gpu/price", "3");
  CHECK(root.find("gpu")->find("price")->find("value")->integer == 3);
  CHECK(root.find("gpu")->find("price")->find("reference")->string == "set on the command line");
}

TEST_CASE("other values leave the source of a number alone", "[json]") {
  Node root = parse_json(kDocument, "f.json");
  set_at_pointer(root, "/gpu/peak_TFLOPS/reference", "7");
  CHECK(root.find("gpu")->find("peak_TFLOPS")->find("source")->string == "datasheet");
  set_at_pointer(root, "/gpu/peak_TFLOPS", R"({"value": 1, "source": "measured"})");
  CHECK(root.find("gpu")->find("peak_TFLOPS")->members.size() == 2);
  CHECK(root.find("gpu")->find("peak_TFLOPS")->find("source")->string == "measured");
  set_at_pointer(root, "/gpu/plain/value", "4");
  CHECK(root.find("gpu")->find("plain")->members.size() == 1);
  set_at_pointer(root, "/gpu/price", "free");
  CHECK(root.find("gpu")->find("price")->string == "free");
}

TEST_CASE("set_at_pointer refuses what does not exist", "[json]") {
  CHECK(set_error("/gpu/prize") == "--set /gpu/prize: no such key; did you mean \"/gpu/price\"?");
  CHECK(set_error("/gpus/price") == "--set /gpus/price: no such key; did you mean \"/gpu/price\"?");
  CHECK(set_error("/a~1c/m") == "--set /a~1c/m: no such key; did you mean \"/a~1b/m\"?");
  CHECK(set_error("/gpu/zzzzzz") ==
        "--set /gpu/zzzzzz: no such key; the keys are \"peak_TFLOPS\", \"price\" and \"plain\"");
  CHECK(set_error("/empty/x") == "--set /empty/x: no such key; the object is empty");
  CHECK(set_error("/name/x") == "--set /name/x: no such key; \"/name\" is a string, not an object");
  CHECK(set_error("/nodes/2") == "--set /nodes/2: found array index \"2\", expected 0 to 1");
  for (const char* index : {"-", "-1", "01", "x", "", "99999999999999999999"}) {
    CHECK(set_error("/nodes/" + std::string(index)).find("expected 0 to 1") != std::string::npos);
  }
  CHECK(set_error("/none/0") == "--set /none/0: found array index \"0\", but the array is empty");
  CHECK(set_error("/a~2b") == "--set /a~2b: found a lone '~'; expected ~0 (for ~) or ~1 (for /)");
  CHECK(set_error("/a~").find("lone '~'") != std::string::npos);
  CHECK(set_error("name") ==
        "--set: found \"name\", expected a JSON pointer such as /cluster/name");
  CHECK(set_error("").starts_with("--set: found \"\", expected a JSON pointer"));
}

TEST_CASE("set_at_pointer refuses broken JSON", "[json]") {
  CHECK(set_error("/name", "{\"a\": 1") ==
        "--set /name: cannot read \"{\\\"a\\\": 1\": unexpected end of file inside an object; "
        "expected ',' or '}' (the file ends too early)");
  CHECK(set_error("/name", "[1,]").find("remove the comma") != std::string::npos);
  CHECK(set_error("/name", "\"x").find("closing") != std::string::npos);
}

TEST_CASE("a failed set changes nothing", "[json]") {
  Node root = parse_json(kDocument, "f.json");
  CHECK_THROWS_AS(set_at_pointer(root, "/gpu/peak_TFLOPS", "[1"), InputError);
  CHECK_THROWS_AS(set_at_pointer(root, "/gpu/new", "1"), InputError);
  CHECK(root.find("gpu")->members.size() == 3);
  CHECK(root.find("gpu")->find("peak_TFLOPS")->find("value")->integer == 989);
}

}  // namespace
}  // namespace orrery::json
