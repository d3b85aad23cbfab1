// Positions in JSON text and the wording of syntax errors; used by the parser alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace orrery::json {

// Moves forward through a text and knows the line and column (in code points) of where it stands.
class TextCursor {
 public:
  explicit TextCursor(std::string_view text);  // stands after a byte order mark

  std::size_t offset() const { return offset_; }
  int line() const { return line_; }
  int column() const { return column_; }
  std::string_view rest() const { return text_.substr(offset_); }

  void advance(std::size_t offset);
  void skip_space();
  bool skip(char c);  // and the space after it; false when something else stands here

 private:
  std::string_view text_;
  std::size_t offset_ = 0;
  int line_ = 1;
  int column_ = 1;
};

// What could have stood where a syntax error is.
struct Expectation {
  std::string what;
  bool value = false;        // a value is welcome
  bool after_comma = false;  // just after ',' in an array or object
};

// The length of the integer that `text` begins with.
std::size_t integer_length(std::string_view text);

// `rest` begins with a token that is wrong or in the wrong place.
std::string describe_unexpected(std::string_view rest, const Expectation& expected);
// The text ends inside the token `rest` or, when `rest` is empty, inside `container` ("an array").
std::string describe_end(std::string_view rest, const std::string& container,
                         const Expectation& expected);
std::string describe_overflow(std::string_view rest);

}  // namespace orrery::json
