#include "sim/memory/caching_allocator.h"

#include <map>

#include "tests/catch.h"

using namespace orrery;

namespace {

constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;

int64_t reserved(const CachingAllocator& a) { return a.stats().reserved.count(); }
int64_t allocated(const CachingAllocator& a) { return a.stats().allocated.count(); }

}  // namespace

TEST_CASE("Segments are as large as PyTorch makes them", "[memory]") {
  struct Case {
    int64_t size, allocated, reserved;
  };
  // 1 byte rounds to 512, in a segment of 2 MiB. 1 MiB is the last small size. 1 MiB + 1 rounds to
  // 1 MiB + 512, in 20 MiB. 10 MiB gets its own size; 10 MiB + 1 the next multiple of 2 MiB: 12,
  // and as the rest of 2 MiB - 512 is more than 1 MiB, it is split off.
  for (const Case& c :
       {Case{1, 512, 2 * kMiB}, Case{kMiB, kMiB, 2 * kMiB}, Case{kMiB + 1, kMiB + 512, 20 * kMiB},
        Case{10 * kMiB, 10 * kMiB, 10 * kMiB}, Case{10 * kMiB + 1, 10 * kMiB + 512, 12 * kMiB},
        // 11.5 MiB in 12 MiB: the rest of 0.5 MiB stays with the block.
        Case{11 * kMiB + 512 * kKiB, 12 * kMiB, 12 * kMiB}}) {
    CachingAllocator a({});
    a.allocate(Bytes(c.size), 0);
    CAPTURE(c.size);
    CHECK(allocated(a) == c.allocated);
    CHECK(reserved(a) == c.reserved);
  }
}

TEST_CASE("Blocks are reused by best fit, split and merged", "[memory]") {
  CachingAllocator a({});
  // Three of 4 MiB from one segment of 20 MiB; 8 MiB are left.
  const uint32_t x = a.allocate(Bytes(4 * kMiB), 0);
  const uint32_t y = a.allocate(Bytes(4 * kMiB), 0);
  const uint32_t z = a.allocate(Bytes(4 * kMiB), 0);
  CHECK(reserved(a) == 20 * kMiB);
  a.free(y);
  // The best fit for 3 MiB is y's 4 MiB, not the 8 MiB at the end: 8 MiB still fit there.
  const uint32_t small = a.allocate(Bytes(3 * kMiB), 0);
  const uint32_t end = a.allocate(Bytes(8 * kMiB), 0);
  CHECK(reserved(a) == 20 * kMiB);
  for (uint32_t h : {x, z, small, end}) a.free(h);
  CHECK(allocated(a) == 0);
  CHECK(reserved(a) == 20 * kMiB);
  // All merged again: 9 MiB twice fit.
  a.allocate(Bytes(9 * kMiB), 0);
  a.allocate(Bytes(9 * kMiB), 0);
  CHECK(reserved(a) == 20 * kMiB);
}

TEST_CASE("Streams do not share blocks", "[memory]") {
  CachingAllocator a({});
  a.free(a.allocate(Bytes(4 * kMiB), 0));
  a.allocate(Bytes(4 * kMiB), 1);
  CHECK(reserved(a) == 40 * kMiB);
}

TEST_CASE("Fragmentation: a hole that is too small costs a segment", "[memory]") {
  for (bool expandable : {false, true}) {
    CachingAllocator a({expandable, Bytes(INT64_MAX)});
    const uint32_t x = a.allocate(Bytes(40 * kMiB), 0);
    a.allocate(Bytes(40 * kMiB), 0);
    a.free(x);
    a.allocate(Bytes(60 * kMiB), 0);
    // Segments of 40, 40 and 60 MiB; expandable: 80 MiB with a hole of 40, grown by 60.
    CHECK(reserved(a) == 140 * kMiB);
    CHECK(a.stats().fragmentation == Approx(40.0 / 140));
    a.allocate(Bytes(20 * kMiB), 0);
    a.allocate(Bytes(20 * kMiB), 0);
    CHECK(reserved(a) == 140 * kMiB);
  }
  // Growing tensors: each old one is free when the next is made. Classic segments cannot be joined,
  // an expandable one can.
  const auto grow = [](bool expandable) {
    CachingAllocator a({expandable, Bytes(INT64_MAX)});
    for (int64_t mib = 20; mib <= 100; mib += 20) a.free(a.allocate(Bytes(mib * kMiB), 0));
    return reserved(a) / kMiB;
  };
  CHECK(grow(false) == 20 + 40 + 60 + 80 + 100);
  CHECK(grow(true) == 100);
}

TEST_CASE("A full device gives free segments back first", "[memory]") {
  CachingAllocator a({false, Bytes(100 * kMiB)});
  a.free(a.allocate(Bytes(60 * kMiB), 0));
  a.allocate(Bytes(80 * kMiB), 0);
  CHECK(reserved(a) == 80 * kMiB);
  CHECK(a.stats().retries == 1);
  CHECK_FALSE(a.stats().out_of_memory);
  a.allocate(Bytes(40 * kMiB), 0);
  CHECK(a.stats().out_of_memory);
}

TEST_CASE("A segment that was to grow may have been given back for it", "[memory]") {
  // 40 MiB of pages for 30, free; 20 for another stream. 50 MiB take 20 more pages than there are,
  // so the 40 go back, and 60 are mapped.
  CachingAllocator a({true, Bytes(70 * kMiB)});
  a.free(a.allocate(Bytes(30 * kMiB), 0));
  const uint32_t other = a.allocate(Bytes(20 * kMiB), 1);
  CHECK(reserved(a) == 60 * kMiB);
  const uint32_t large = a.allocate(Bytes(50 * kMiB), 0);
  CHECK(a.stats().retries == 1);
  CHECK(reserved(a) == 80 * kMiB);
  CHECK(a.stats().out_of_memory);
  a.free(large);
  a.free(other);
  CHECK(allocated(a) == 0);
}

TEST_CASE("Whatever is allocated and freed, the books balance", "[memory]") {
  for (int setting = 0; setting < 4; ++setting) {
    const bool expandable = setting % 2 != 0, full = setting / 2 != 0;
    CachingAllocator a({expandable, Bytes(full ? 60 * kMiB : INT64_MAX)});
    std::map<int, uint32_t> live;
    uint64_t x = 7;
    for (int i = 0; i < 20000; ++i) {
      x = x * 6364136223846793005ULL + 1442695040888963407ULL;
      const int key = static_cast<int>((x >> 33) % 64);
      if (const auto it = live.find(key); it != live.end()) {
        a.free(it->second);
        live.erase(it);
      } else {
        const auto size = static_cast<int64_t>((x >> 40) % (24 << 20)) + 1;
        live[key] = a.allocate(Bytes(size >> ((x >> 20) % 12)), static_cast<int>((x >> 50) % 3));
      }
      REQUIRE(allocated(a) >= 0);
      REQUIRE(a.stats().allocated <= a.stats().reserved);
    }
    for (const auto& [key, handle] : live) a.free(handle);
    CHECK(allocated(a) == 0);
    CHECK(a.stats().peak_allocated <= a.stats().peak_reserved);
  }
}
