// A tile on its way to its transpose, in shared memory. Rows of the transpose are kChunks times 16
// bytes, words of consecutive source rows; every 8th of the tile's columns was loaded by one thread
// of 8.
#pragma once

#include <cstdint>

namespace orrery::kernels {

constexpr int kTransposeThreads = 256;

// Thread t loads chunk t % 8 (kColumns / 8 consecutive columns) of the source rows that make word
// t / 8, and stores 16 bytes of rows of the transpose, chunk t % kChunks of row t / kChunks and so
// on.
// The 16-byte chunks of a row are permuted by the loading thread's chunk, so that neither side
// has bank conflicts.
template <int kColumns, int kChunks = 8>
struct TransposeTile {
  static constexpr int kPerChunk = kColumns / 8;
  uint4 chunks[kColumns][kChunks];

  __device__ void put(int column, int word, uint32_t value) {
    uint32_t* row = reinterpret_cast<uint32_t*>(chunks[column]);
    row[word ^ (column / kPerChunk << 2)] = value;
  }
  __device__ uint4 get(int column, int chunk) const {
    return chunks[column][chunk ^ (column / kPerChunk)];
  }
};

}  // namespace orrery::kernels
