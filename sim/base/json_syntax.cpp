#include "sim/base/json_syntax.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "sim/base/text.h"

namespace orrery::json {
namespace {

constexpr std::size_t kShownBytes = 40;  // of a wrong token

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_sign_or_dot(char c) { return c == '+' || c == '-' || c == '.'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_word(char c) { return is_digit(c) || is_letter(c) || is_sign_or_dot(c); }

std::string_view word_at(std::string_view text) {
  const auto end = std::find_if_not(text.begin(), text.end(), is_word);
  return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

bool is_non_finite(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  static constexpr std::string_view kNames[] = {"nan", "inf", "infinity"};
  return std::any_of(std::begin(kNames), std::end(kNames), [&](std::string_view name) {
    return std::equal(name.begin(), name.end(), word.begin(), word.end(),
                      [](char a, char b) { return a == (b | 0x20); });
  });
}

std::string describe_character(char c, const std::string& tail) {
  if (c == '"') return "unexpected string" + tail;
  if (c == '\'') return "unexpected single quote" + tail + " (JSON strings are in double quotes)";
  if (c <= ' ' || c >= 0x7F) {
    char byte[32];
    std::snprintf(byte, sizeof byte, "unexpected byte 0x%02X", static_cast<unsigned char>(c));
    return byte + tail;
  }
  std::string message = std::string("unexpected '") + c + "'" + tail;
  if (c == '/' || c == '#') message += " (JSON has no comments)";
  return message;
}

}  // namespace

TextCursor::TextCursor(std::string_view text) : text_(text) {
  if (text.starts_with("\xEF\xBB\xBF")) offset_ = 3;
}

void TextCursor::advance(std::size_t offset) {
  for (; offset_ < offset; ++offset_) {
    const auto byte = static_cast<unsigned char>(text_[offset_]);
    if (byte == '\n') {
      ++line_;
      column_ = 1;
    } else if ((byte & 0xC0) != 0x80) {
      ++column_;
    }
  }
}

void TextCursor::skip_space() {
  while (offset_ < text_.size() && is_space(text_[offset_])) advance(offset_ + 1);
}

bool TextCursor::skip(char c) {
  if (!rest().starts_with(c)) return false;
  advance(offset_ + 1);
  skip_space();
  return true;
}

std::size_t integer_length(std::string_view text) {
  std::size_t n = text.starts_with('-') ? 1 : 0;
  if (n < text.size() && text[n] == '0') return n + 1;  // "01" is two tokens
  while (n < text.size() && is_digit(text[n])) ++n;
  return n;
}

std::string describe_unexpected(std::string_view rest, const Expectation& expected) {
  const std::string_view word = word_at(rest);
  const std::string tail = "; expected " + expected.what;
  if (is_non_finite(word)) {
    return "found " + std::string(word) + ", which JSON does not have; expected a finite number";
  }
  if (word == "True" || word == "False" || word == "None") {
    return "unexpected " + in_quotes(word) + tail + " (JSON writes true, false and null)";
  }
  if (expected.value && !word.empty() && !is_letter(word[0])) {
    return "found " + in_quotes(word, kShownBytes) +
           ", which is not a JSON number; expected a number such as 12, 0.5 or 1e9";
  }
  if (!word.empty()) return "unexpected " + in_quotes(word, kShownBytes) + tail;
  std::string message = describe_character(rest[0], tail);
  if (expected.after_comma && (rest[0] == '}' || rest[0] == ']')) {
    message += " (remove the comma before it)";
  }
  return message;
}

std::string describe_end(std::string_view rest, const std::string& container,
                         const Expectation& expected) {
  std::string text = "unexpected end of file inside ";
  if (rest.empty()) {
    text += container + "; expected " + expected.what;
  } else if (rest[0] == '"') {
    text += "a string; expected a closing '\"'";
  } else {
    text += in_quotes(word_at(rest), kShownBytes) + "; expected the rest of the value";
  }
  return text + " (the file ends too early)";
}

std::string describe_overflow(std::string_view rest) {
  return "found " + in_quotes(word_at(rest), kShownBytes) +
         ", which is too large for a number; expected a magnitude below 1.8e308";
}

}  // namespace orrery::json
