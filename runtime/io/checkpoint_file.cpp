#include "runtime/io/checkpoint_file.h"

#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <utility>

#include "runtime/io/fail.h"
#include "sim/base/error.h"
#include "sim/base/json_reader.h"
#include "sim/base/text.h"

namespace orrery {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::array<char, 8> kCheckpointMagic = {'O', 'R', 'R', 'C', 'K', 'P', 'T', '1'};

struct Footer {
  uint64_t index_offset = 0;
  uint64_t index_bytes = 0;
  std::array<char, 8> magic = kCheckpointMagic;
  uint64_t checksum = 0;
};
static_assert(sizeof(Footer) == 32);
constexpr std::size_t kCheckedFooterBytes = 24;  // up to the checksum

// Of a file of this format, whatever its index and checksum say.
Footer footer_of(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  Footer footer;
  if (bytes.size() >= sizeof footer) {
    std::memcpy(&footer, bytes.last(sizeof footer).data(), sizeof footer);
  }
  if (bytes.size() < sizeof footer || footer.magic != kCheckpointMagic) {
    fail(file.path(), "the checkpoint file has no footer at its end, after " +
                          bytes_text(bytes.size()) + "; it is truncated or not of this format");
  }
  return footer;
}

}  // namespace

std::string rank_file_name(int rank) {
  char name[32];
  std::snprintf(name, sizeof name, "rank_%05d.bin", rank);
  return name;
}

CheckpointFileWriter::CheckpointFileWriter(std::string path, DiskHook hook)
    : file_(std::move(path), std::move(hook)) {}

void CheckpointFileWriter::write(std::span<const std::byte> bytes) {
  checksum_.add(bytes);
  file_.append(bytes);
}

void CheckpointFileWriter::begin(std::string_view name) {
  if (name.empty()) fail(file_.path(), "a blob has an empty name");
  if (!index_.emplace(name, blobs_.size()).second) {
    fail(file_.path(), "blob " + in_quotes(name) + " is written twice");
  }
  constexpr std::array<std::byte, kBlobAlignment> kZeros{};
  const std::size_t past = file_.size() % kBlobAlignment;
  if (past > 0) write(std::span(kZeros).first(kBlobAlignment - past));
  blobs_.push_back({std::string(name), file_.size(), 0});
}

void CheckpointFileWriter::append(std::span<const std::byte> bytes) {
  if (blobs_.empty()) throw Error(ExitCode::kInternal, file_.path() + ": append() before begin()");
  write(bytes);
  blobs_.back().bytes += bytes.size();
}

void CheckpointFileWriter::add(std::string_view name, std::span<const std::byte> bytes) {
  begin(name);
  append(bytes);
}

void CheckpointFileWriter::finish() {
  std::string index = "{\"blobs\": [";
  for (const Blob& blob : blobs_) {
    index += (&blob == &blobs_.front() ? "\n" : ",\n");
    index += "{\"name\": " + in_quotes(blob.name, blob.name.size()) +
             ", \"offset\": " + std::to_string(blob.offset) +
             ", \"bytes\": " + std::to_string(blob.bytes) + "}";
  }
  index += "]}\n";
  json::parse_json(index, file_.path());  // refuses now what could not be read back

  Footer footer{file_.size(), index.size()};
  write(std::as_bytes(std::span(index)));
  const auto footer_bytes = std::as_bytes(std::span(&footer, 1));
  checksum_.add(footer_bytes.first(kCheckedFooterBytes));
  footer.checksum = checksum_.value();
  file_.append(footer_bytes);
  file_.sync_and_close();
}

CheckpointFileSummary read_summary(const std::string& path) {
  const MappedFile file(path);
  return {file.bytes().size(), footer_of(file).checksum};
}

CheckpointFile::CheckpointFile(const std::string& path, const CheckpointFileSummary& expected)
    : file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  if (bytes.size() != expected.bytes) {
    fail(path, std::string("the checkpoint file is ") +
                   (bytes.size() < expected.bytes ? "truncated" : "too long") + ": found " +
                   bytes_text(bytes.size()) + ", expected " + bytes_text(expected.bytes));
  }
  const Footer footer = footer_of(file_);
  const uint64_t found = checksum_of(bytes.first(bytes.size() - sizeof footer.checksum));
  if (found != footer.checksum) {
    fail(path, "the checkpoint file is damaged: its XXH3 checksum is " + checksum_text(found) +
                   ", expected " + checksum_text(footer.checksum));
  }
  if (found != expected.checksum) {
    fail(path,
         "the checkpoint file is not the one that was saved with this manifest: its XXH3 "
         "checksum is " +
             checksum_text(found) + ", expected " + checksum_text(expected.checksum));
  }
  read_index(footer.index_offset, footer.index_bytes);
}

// The checksum is right, so what is wrong here was written so.
void CheckpointFile::read_index(uint64_t offset, uint64_t bytes) {
  const std::span<const std::byte> all = file_.bytes();
  const uint64_t end = all.size() - sizeof(Footer);
  if (offset > end || bytes != end - offset) fail(path(), "the index is not where the footer says");
  const std::string_view text(reinterpret_cast<const char*>(all.data()) + offset, bytes);
  const json::Node root = json::parse_json(text, path());
  Diagnostics findings;
  json::Reader reader(root, "", findings);
  reader.objects("blobs", [&](json::Reader& r) {
    const std::string name = r.string("name");
    const auto begin = static_cast<uint64_t>(r.integer("offset", {0, static_cast<double>(offset)}));
    const auto size = static_cast<uint64_t>(r.integer("bytes", {0, static_cast<double>(offset)}));
    r.finish();
    if (begin > offset || size > offset - begin) {
      r.fail("bytes", "blob " + in_quotes(name) + " ends beyond the data");
    } else if (!blobs_.emplace(name, all.subspan(begin, size)).second) {
      r.fail("name", "blob " + in_quotes(name) + " is there twice");
    }
    names_.push_back(name);
  });
  reader.finish();
  findings.throw_if_any();
}

std::span<const std::byte> CheckpointFile::blob(std::string_view name) const {
  const auto found = blobs_.find(name);
  if (found != blobs_.end()) return found->second;
  const std::string near = nearest_name(name, names_);
  fail(path(), "blob " + in_quotes(name) + " is missing" +
                   (near.empty() ? "" : "; the nearest name is " + in_quotes(near)));
}

}  // namespace orrery
