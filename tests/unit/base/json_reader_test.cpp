#include "sim/base/json_reader.h"

#include <algorithm>
#include <array>

#include "tests/catch.h"
#include "tests/unit/base/helpers.h"

namespace orrery::json {
namespace {

using testing::failure_of;

constexpr std::array<std::string_view, 3> kTypes = {"bf16", "fp8", "fp32"};

// What reading `text` with `read` reports.
template <class F>
std::string report(std::string_view text, F&& read) {
  const Node root = parse_json(text, "f.json");
  Diagnostics diagnostics;
  Reader reader(root, "", diagnostics);
  read(reader);
  return failure_of([&] { diagnostics.throw_if_any(); }).message;
}

TEST_CASE("values are read with their types", "[json]") {
  const std::string_view text =
      R"({"x": 2.5, "i": 4.0, "b": true, "s": "t", "c": "fp8", "is": [1, 2.0], "ss": ["a"],
          "o": {"n": 1}, "os": [{"n": 1}, {"n": 2}], "r": null, "note": "free"})";
  const std::string errors = report(text, [](Reader& r) {
    CHECK(r.number("x") == 2.5);
    CHECK(r.number_or("x", 7, {0, 3}) == 2.5);
    CHECK(r.number("i") == 4.0);
    CHECK(r.integer("i", {4, 4}) == 4);
    CHECK(r.boolean("b"));
    CHECK(r.boolean_or("b", false));
    CHECK(r.string("s") == "t");
    CHECK(r.string_or("s", "d") == "t");
    CHECK(r.choice("c", kTypes) == 1);
    CHECK(r.choice_or("c", 2, kTypes) == 1);
    CHECK(r.integers("is", {1, 2}) == std::vector<int64_t>{1, 2});
    CHECK(r.strings("ss") == std::vector<std::string>{"a"});
    Reader o = r.object("o");
    CHECK(o.pointer() == "/o");
    CHECK(o.integer("n") == 1);
    o.finish();
    int64_t sum = 0;
    r.objects("os", [&](Reader& item) {
      sum = 10 * sum + item.integer("n");
      item.finish();
    });
    CHECK(sum == 12);
    REQUIRE(r.raw("r") != nullptr);
    CHECK(r.raw("r")->kind == Node::Kind::kNull);
    CHECK(r.raw("absent") == nullptr);
    CHECK(r.has("x"));
    CHECK_FALSE(r.has("absent"));
    CHECK(r.keys().size() == 11);
    CHECK(r.keys()[2] == "b");
    r.ignore("note");
    r.finish();
  });
  CHECK(errors.empty());
}

TEST_CASE("defaults stand in for absent keys", "[json]") {
  const std::string errors = report("{}", [](Reader& r) {
    CHECK(r.number_or("x", 1.5) == 1.5);
    CHECK(r.integer_or("i", 3) == 3);
    CHECK(r.boolean_or("b", true));
    CHECK(r.string_or("s", "d") == "d");
    CHECK(r.choice_or("c", 2, kTypes) == 2);
    r.finish();
  });
  CHECK(errors.empty());
}

TEST_CASE("a number outside its range is reported and clamped", "[json]") {
  const std::string_view text = "{\"node\": {\"gpu\": {\n  \"bw\": 4.8}}}";
  CHECK(report(text, [](Reader& r) {
          Reader node = r.object("node");
          Reader gpu = node.object("gpu");
          CHECK(gpu.number("bw", {1000, 10000}) == 1000);
          CHECK(gpu.number_or("bw", 7, {0.001, 1e20}) == 4.8);
        }) == "f.json:2:9 /node/gpu/bw: found 4.8, expected 1000 to 10000");
  const auto range_error = [](const char* number, Range range) {
    return report("{\"x\": " + std::string(number) + "}", [&](Reader& r) { r.number("x", range); });
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CHECK(range_error("0", kPositive) == "f.json:1:7 /x: found 0, expected more than 0");
  CHECK(range_error("-1e-9", kPositive) == "f.json:1:7 /x: found -1e-09, expected more than 0");
  CHECK(range_error("1e-300", kPositive).empty());
  CHECK(range_error("1.5", kFraction) == "f.json:1:7 /x: found 1.5, expected 0 to 1");
  CHECK(range_error("1", kFraction).empty());
  CHECK(range_error("0", kFraction).empty());
  CHECK(range_error("1", {2, kInfinity}) == "f.json:1:7 /x: found 1, expected at least 2");
  CHECK(range_error("1", {-kInfinity, 0.5}) == "f.json:1:7 /x: found 1, expected at most 0.5");
  CHECK(range_error("3000000", {0, 1e6}) == "f.json:1:7 /x: found 3000000, expected 0 to 1000000");
  CHECK(range_error("5", {kPositive.min, 4}) ==
        "f.json:1:7 /x: found 5, expected more than 0 and at most 4");
}

TEST_CASE("an integer must be one", "[json]") {
  const auto integer_error = [](const char* number, Range range = {}) {
    return report("{\"x\": " + std::string(number) + "}",
                  [&](Reader& r) { r.integer("x", range); });
  };
  CHECK(integer_error("4.5") == "f.json:1:7 /x: found 4.5, expected an integer");
  CHECK(integer_error("4.5", {1, 8}) == "f.json:1:7 /x: found 4.5, expected an integer, 1 to 8");
  CHECK(integer_error("1e30") == "f.json:1:7 /x: found 1e+30, expected an integer");
  CHECK(integer_error("9223372036854775808").find("expected an integer") != std::string::npos);
  CHECK(integer_error("-9223372036854775808").empty());
  CHECK(integer_error("4e3").empty());
  CHECK(integer_error("9", {1, 8}) == "f.json:1:7 /x: found 9, expected 1 to 8");
  CHECK(integer_error("\"4\"") == "f.json:1:7 /x: found a string, expected an integer");
}

TEST_CASE("after an error the value is usable", "[json]") {
  report(R"({"x": "s", "i": 99, "j": 4.5, "z": 0, "c": "x"})", [](Reader& r) {
    CHECK(r.number("x", {5, 6}) == 5);
    CHECK(r.number("absent", kPositive) == 1);
    CHECK(r.number_or("x", 2) == 2);
    CHECK(r.integer("i", {1, 8.5}) == 8);
    CHECK(r.integer("i", {99.5, 200}) == 100);
    CHECK(r.integer("j", kPositive) == 1);
    CHECK(r.integer("absent", {2.5, 8}) == 3);
    CHECK(r.number("z", kPositive) > 0);
    CHECK(r.choice("c", kTypes) == 0);
    CHECK(r.choice_or("c", 2, kTypes) == 2);
    CHECK(r.string("i").empty());
    CHECK(r.string_or("i", "d") == "d");
    CHECK_FALSE(r.boolean("i"));
    CHECK(r.boolean_or("i", true));
  });
}

TEST_CASE("a wrong type names both types", "[json]") {
  const std::string errors =
      report("{\"a\": \"1\", \"b\": 1, \"c\": 2, \"d\": {}, \"e\": [], \"f\": null, \"g\": true}",
             [](Reader& r) {
               r.number("a");
               r.boolean("b");
               r.string("c");
               r.integers("d");
               r.object("e");
               r.number_or("f", 1);
               r.choice("g", kTypes);
             });
  CHECK(errors ==
        "f.json:1:7 /a: found a string, expected a number\n"
        "f.json:1:17 /b: found 1, expected true or false\n"
        "f.json:1:25 /c: found 2, expected a string\n"
        "f.json:1:33 /d: found an object, expected an array\n"
        "f.json:1:42 /e: found an array, expected an object\n"
        "f.json:1:51 /f: found null, expected a number\n"
        "f.json:1:62 /g: found true, expected a string");
}

TEST_CASE("a missing key is reported where its object starts", "[json]") {
  CHECK(report("{\n \"o\": {}}", [](Reader& r) { r.object("o").number("x"); }) ==
        "f.json:2:7 /o: missing key \"x\"");
  CHECK(report("\n {}", [](Reader& r) { r.string("x"); }) == "f.json:2:2: missing key \"x\"");
}

TEST_CASE("a key that may be absent is named for one that is nearly it", "[json]") {
  CHECK(report(R"({"layer": 1})", [](Reader& r) {
          CHECK_FALSE(r.has("layers"));
          r.finish();
        }) == "f.json:1:11 /layer: unknown key \"layer\"; did you mean \"layers\"?");
}

TEST_CASE("unknown keys are reported with the nearest or all known keys", "[json]") {
  const auto unknown = [](const char* key) {
    return report("{\n  \"" + std::string(key) + "\": 1}", [](Reader& r) {
      r.number_or("hbm_bandwidth_GBps", 1);
      r.string_or("name", "");
      r.finish();
    });
  };
  CHECK(unknown("hbm_bw").find("unknown key \"hbm_bw\"; did you mean \"hbm_bandwidth_GBps\"?") !=
        std::string::npos);
  CHECK(unknown("nmae") == "f.json:2:11 /nmae: unknown key \"nmae\"; did you mean \"name\"?");
  CHECK(unknown("zebra") ==
        "f.json:2:12 /zebra: unknown key \"zebra\"; the known keys are \"hbm_bandwidth_GBps\" and "
        "\"name\"");
  CHECK(unknown("a/b").find(" /a~1b: unknown key \"a/b\"") != std::string::npos);
  CHECK(report("{\"x\": 1}", [](Reader& r) { r.finish(); }) == "f.json:1:7 /x: unknown key \"x\"");
}

TEST_CASE("choices are named by their place in the array", "[json]") {
  CHECK(report(R"({"t": ["fp32", "bf61"]})", [](Reader& r) {
          CHECK(r.choices("t", kTypes) == std::vector<std::size_t>{2});
        }).starts_with("f.json:1:16 /t/1: found \"bf61\", expected one of"));
  CHECK(report(R"({"t": ["fp8", 3]})", [](Reader& r) {
          CHECK(r.choices("t", kTypes) == std::vector<std::size_t>{1});
        }) == "f.json:1:15 /t/1: found 3, expected a string");
}

TEST_CASE("a choice lists the names and the nearest", "[json]") {
  CHECK(report(R"({"t": "fp9"})", [](Reader& r) { r.choice("t", kTypes); }) ==
        "f.json:1:7 /t: found \"fp9\", expected one of \"bf16\", \"fp8\" and \"fp32\"; did you "
        "mean \"fp8\"?");
  CHECK(report(R"({"t": "zebra\n"})", [](Reader& r) { r.choice("t", kTypes); }) ==
        "f.json:1:7 /t: found \"zebra\\n\", expected one of \"bf16\", \"fp8\" and \"fp32\"");
}

TEST_CASE("array elements are checked one by one", "[json]") {
  CHECK(report("{\"a\": [1, 2.5,\n \"x\", 99]}",
               [](Reader& r) {
                 CHECK(r.integers("a", {1, 8}) == std::vector<int64_t>{1, 1, 1, 8});
               }) ==
        "f.json:1:11 /a/1: found 2.5, expected an integer, 1 to 8\n"
        "f.json:2:2 /a/2: found a string, expected an integer, 1 to 8\n"
        "f.json:2:7 /a/3: found 99, expected 1 to 8");
  CHECK(report(R"({"a": ["x", 1]})", [](Reader& r) { CHECK(r.strings("a").size() == 2); }) ==
        "f.json:1:13 /a/1: found 1, expected a string");
  CHECK(report(R"({"a": [{"x": 1}, 7, {}]})",
               [](Reader& r) {
                 int calls = 0;
                 r.objects("a", [&](Reader& item) {
                   ++calls;
                   item.number("x");
                 });
                 CHECK(calls == 2);
               }) ==
        "f.json:1:18 /a/1: found 7, expected an object\n"
        "f.json:1:21 /a/2: missing key \"x\"");
}

TEST_CASE("one error about an object does not bring a flood", "[json]") {
  const auto read = [](Reader& r) {
    Reader o = r.object("o");
    o.number("x", kPositive);
    o.integers("y");
    Reader inner = o.object("inner");
    inner.string("z");
    inner.fail("z", "cross check");
    inner.finish();
    o.objects("list", [](Reader&) { FAIL("there are no elements"); });
    o.fail("", "cross check");
    CHECK_FALSE(o.has("x"));
    CHECK(o.keys().empty());
    CHECK(inner.pointer() == "/o/inner");
    o.finish();
  };
  CHECK(report("{\"o\": 5}", read) == "f.json:1:7 /o: found 5, expected an object");
  CHECK(report("{}", read) == "f.json:1:1: missing key \"o\"");
  CHECK(report("[1]", [](Reader& r) {
          r.number("x");
          r.finish();
        }) == "f.json:1:1: found an array, expected an object");
}

TEST_CASE("all errors of a file come at once", "[json]") {
  const std::string errors = report("{\"a\": -1,\n\"b\": \"x\",\n\"z\": 0}", [](Reader& r) {
    r.number("a", kPositive);
    r.number("b");
    r.number("c");
    r.fail("a", "found a above b, expected the opposite");
    r.fail("c", "is derived");
    r.finish();
  });
  CHECK(errors ==
        "f.json:1:7 /a: found -1, expected more than 0\n"
        "f.json:2:6 /b: found a string, expected a number\n"
        "f.json:1:1: missing key \"c\"\n"
        "f.json:1:7 /a: found a above b, expected the opposite\n"
        "f.json:1:1 /c: is derived\n"
        "f.json:3:6 /z: unknown key \"z\"; the known keys are \"a\", \"b\" and \"c\"");
}

TEST_CASE("more than 20 errors are counted", "[json]") {
  std::string text = "{";
  for (int i = 0; i < 30; ++i) text += (i ? ",\"key" : "\"key") + std::to_string(i) + "\":0";
  const std::string errors = report(text + "}", [](Reader& r) { r.finish(); });
  CHECK(std::count(errors.begin(), errors.end(), '\n') == 20);
  CHECK(errors.ends_with("\nand 10 more"));
}

TEST_CASE("where points at a member or its object", "[json]") {
  report("{\n\"a\": 1}", [](Reader& r) {
    CHECK(r.where("a") == "f.json:2:6 /a");
    CHECK(r.where("b") == "f.json:1:1 /b");
    CHECK(r.where("") == "f.json:1:1");
  });
}

}  // namespace
}  // namespace orrery::json
