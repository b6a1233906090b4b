// Cosines of bfloat16 rows on the matrix unit (AMX) of some processors: 16 frames of u, 16 videos of the gallery at once.
#pragma once

#include "lanes.h"

#if defined(__AMX_BF16__)
#define TILE_ROWS 16

namespace {

// Within its scope this thread's eight tiles are 16 rows of 64 bytes.
struct Tiles {
  Tiles() {
    struct {
      uint8_t palette = 1, start = 0, unused[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
};

// dots[16][columns][LANES] of 16 rows of u, [16][words], and `used` frames of the panel, each [words][LANES]; a word is
// two bfloat16, `words` a multiple of 16.
inline void tile_cosines(const float* u, const float* panel, int64_t words, int64_t used, float* dots,
                         int64_t columns) {
  const int64_t frame = words * LANES, stride = columns * LANES * 4;
  int64_t j = 0;
  for (; j + 4 <= used; j += 4) {
    const float* b = panel + j * frame;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < words; k += 16, b += 16 * LANES) {
      _tile_loadd(4, u + k, words * 4);
      _tile_loadd(5, b, LANES * 4);
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(6, b + frame, LANES * 4);
      _tile_dpbf16ps(1, 4, 6);
      _tile_loadd(5, b + 2 * frame, LANES * 4);
      _tile_dpbf16ps(2, 4, 5);
      _tile_loadd(6, b + 3 * frame, LANES * 4);
      _tile_dpbf16ps(3, 4, 6);
    }
    _tile_stored(0, dots + j * LANES, stride);
    _tile_stored(1, dots + (j + 1) * LANES, stride);
    _tile_stored(2, dots + (j + 2) * LANES, stride);
    _tile_stored(3, dots + (j + 3) * LANES, stride);
  }
  for (; j < used; ++j) {
    _tile_zero(0);
    for (int64_t k = 0; k < words; k += 16) {
      _tile_loadd(4, u + k, words * 4);
      _tile_loadd(5, panel + j * frame + k * LANES, LANES * 4);
      _tile_dpbf16ps(0, 4, 5);
    }
    _tile_stored(0, dots + j * LANES, stride);
  }
}

}  // namespace

#endif
