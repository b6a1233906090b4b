// Cosines of rows in bfloat16 on the matrix unit (AMX) of some processors: 16 frames of u by 16 videos a tile.
//
// A number is one bfloat16, or the sum of three: x = x1 + x2 + x3 is a float32 up to its last bit, and six of the nine
// products of two such sums are all of a float32 product but 2^-24 of it. Parts of a row lie behind each other.
#pragma once

#include "lanes.h"

#if defined(__AMX_BF16__)
#define TILE_ROWS 16

namespace {

// Brings the tile behind this one into the L1 cache: products wait for the whole of a tile.
inline void fetch_next(const float* tile) {
  for (int64_t line = 16; line < 32; ++line)
    _mm_prefetch(reinterpret_cast<const char*>(tile + line * 16), _MM_HINT_T0);
}

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

constexpr int64_t kTwoTiles = 2 * TILE_ROWS * 16;  // words of u in the two tiles that lie behind each other
// All products that are kept, the smallest first. LOAD_U(p), LOAD_G(p): part p of either side; DOTS: their products.
#define PRODUCTS              \
  if constexpr (parts == 3) { \
    LOAD_U(0) LOAD_G(2) DOTS  \
    LOAD_G(1) DOTS            \
    LOAD_U(1) DOTS            \
    LOAD_G(0) DOTS            \
    LOAD_U(2) DOTS            \
    LOAD_U(0) DOTS            \
  } else {                    \
    LOAD_U(0) LOAD_G(0) DOTS  \
  }

// dots[32][columns][LANES] of 32 rows of u, [words / 16][parts][32][16], and `used` frames of the panel, each
// [parts][words][LANES]; a word is two bfloat16. Two tiles meet two frames.
template <int parts>
inline void tall_cosines(const float* u, const float* panel, int64_t words, int64_t used, float* dots,
                         int64_t columns) {
  const int64_t part = words * LANES, frame = parts * part, stride = columns * LANES * 4;
  for (int64_t j = 0; j < used; j += 2) {
    const int64_t other = std::min(j + 1, used - 1);
    float *top = dots + j * LANES, *top_other = dots + other * LANES;
    float *low = top + TILE_ROWS * columns * LANES, *low_other = top_other + TILE_ROWS * columns * LANES;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < words; k += 16) {
      const float *a = u + k / 16 * parts * kTwoTiles, *b = panel + j * frame + k * LANES;
      const float* b_other = panel + other * frame + k * LANES;
#define LOAD_U(p)                           \
  _tile_loadd(4, a + (p) * kTwoTiles, 64);  \
  _tile_loadd(5, a + (p) * kTwoTiles + kTwoTiles / 2, 64);
#define LOAD_G(p)                                  \
  _tile_loadd(6, b + (p) * part, LANES * 4);       \
  _tile_loadd(7, b_other + (p) * part, LANES * 4); \
  fetch_next(b + (p) * part);                      \
  fetch_next(b_other + (p) * part);
#define DOTS                 \
  _tile_dpbf16ps(0, 4, 6);   \
  _tile_dpbf16ps(1, 4, 7);   \
  _tile_dpbf16ps(2, 5, 6);   \
  _tile_dpbf16ps(3, 5, 7);
      PRODUCTS
#undef LOAD_U
#undef LOAD_G
#undef DOTS
    }
    _tile_stored(0, top, stride);
    _tile_stored(1, top_other, stride);
    _tile_stored(2, low, stride);
    _tile_stored(3, low_other, stride);
  }
}

// The same of 16 rows of u, which meet three frames.
template <int parts>
inline void flat_cosines(const float* u, const float* panel, int64_t words, int64_t used, float* dots,
                         int64_t columns) {
  const int64_t part = words * LANES, frame = parts * part, stride = columns * LANES * 4;
  for (int64_t j = 0; j < used; j += 3) {
    const int64_t second = std::min(j + 1, used - 1), third = std::min(j + 2, used - 1);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    for (int64_t k = 0; k < words; k += 16) {
      const float *a = u + k / 16 * parts * kTwoTiles, *b = panel + k * LANES;
#define LOAD_U(p) _tile_loadd(3, a + (p) * kTwoTiles, 64);
#define LOAD_G(p)                                              \
  _tile_loadd(4, b + j * frame + (p) * part, LANES * 4);       \
  _tile_loadd(5, b + second * frame + (p) * part, LANES * 4);  \
  _tile_loadd(6, b + third * frame + (p) * part, LANES * 4);
#define DOTS                 \
  _tile_dpbf16ps(0, 3, 4);   \
  _tile_dpbf16ps(1, 3, 5);   \
  _tile_dpbf16ps(2, 3, 6);
      PRODUCTS
#undef LOAD_U
#undef LOAD_G
#undef DOTS
    }
    _tile_stored(0, dots + j * LANES, stride);
    _tile_stored(1, dots + second * LANES, stride);
    _tile_stored(2, dots + third * LANES, stride);
  }
}

#undef PRODUCTS

// dots[rows][columns][LANES] of up to 32 rows of u and `used` frames of the panel; `words` a multiple of 16.
template <int parts>
void tile_cosines(const float* u, const float* panel, int64_t words, int64_t rows, int64_t used, float* dots,
                  int64_t columns) {
  if (rows > TILE_ROWS)
    tall_cosines<parts>(u, panel, words, used, dots, columns);
  else
    flat_cosines<parts>(u, panel, words, used, dots, columns);
}

}  // namespace

#endif
