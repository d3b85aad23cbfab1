#include "sim/base/json_write.h"

#include "tests/catch.h"

namespace orrery::json {

TEST_CASE("json: written text parses to the same values", "[base]") {
  const std::string text =
      R"({"b": [1, -2.5, 1e-06, true, null, "\u00e9\n\""], "a": {}, "c": {"d": []}})";
  const std::string once = to_text(parse_json(text, "test"));
  CHECK(to_text(parse_json(once, "test")) == once);
  // Members stay in their order, and 1e-06 stays a number.
  CHECK(once.find("\"b\"") < once.find("\"a\""));
  CHECK(parse_json(once, "test").find("b")->items.at(2).number == 1e-06);
  CHECK(parse_json(once, "test").find("b")->items.at(0).integer == 1);
}

}  // namespace orrery::json
