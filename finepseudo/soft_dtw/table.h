// The soft-DTW table of LANES pairs at once: cosine tile, forward recursion, and its reverse.
//
// With s = log2(e)/gamma, a cell holds 2^(-s R) as a mantissa and a whole exponent (m, e): value m 2^e. Then
//   cell(i, j) = 2^(-s cost(i, j)) (cell(i-1, j) + cell(i, j-1) + cell(i-1, j-1))
// needs no logarithm, and only the fraction of s cost needs a polynomial. Rounding does not grow with R/gamma.
#pragma once

#include <algorithm>

#include "lanes.h"

namespace {

constexpr float kNever = -1e30f;  // exponent of a cell outside the table, whose mantissa is 0
constexpr int kRenormalise = 8;   // steps between renormalisations: a mantissa grows at most 2.09 bits a step

struct Cell {
  Vec m, e;
};

INLINE Cell outside() { return {all(0.f), all(kNever)}; }
INLINE Cell start() { return {all(1.f), all(0.f)}; }

INLINE Cell normal(Cell c) {
  Vec d = larger(exponent(c.m), all(-100.f));
  return {scale(c.m, -d), c.e + d};
}

// up and left enter alike, so that D(u, v) and D(v, u) are the same bits.
INLINE Cell step(Cell up, Cell left, Cell diagonal, Vec dot, Vec s) {
  Vec top = larger(larger(up.e, left.e), diagonal.e);
  Vec sum = (scale(up.m, up.e - top) + scale(left.m, left.e - top)) + scale(diagonal.m, diagonal.e - top);
  Vec t = mul_add(dot, s, -s);  // -s (1 - dot)
  Vec whole = nearest(t);
  return {sum * power_of_two(t - whole), top + whole};
}

// Words a dot product reads: one float, or (HALVES) two bfloat16.
template <bool HALVES>
INLINE Vec accumulate(float u, Vec v, Vec sum) {
#if defined(__AVX512BF16__)
  if (HALVES) return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)all(u), (__m512bh)v);
#endif
  return mul_add(all(u), v, sum);
}

// dots[r][c] of R rows of u (as [words][ROWS]) and C frames of the panel (each [words][LANES]).
template <bool HALVES, int R, int C>
INLINE void cosine_tile(const float* u, const float* panel, int64_t words, float* dots, int64_t columns) {
  Vec sum[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) sum[r][c] = all(0.f);
  const int64_t frame = words * LANES;
  for (int64_t k = 0; k < words; ++k, u += ROWS, panel += LANES) {
    Vec v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) v[c] = load(panel + c * frame);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[r][c] = accumulate<HALVES>(u[r], v[c], sum[r][c]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) store(dots + (r * columns + c) * LANES, sum[r][c]);
}

template <bool HALVES, int R>
__attribute__((noinline)) void cosine_rows(const float* u, const float* panel, int64_t words, int64_t used,
                                           float* dots, int64_t columns) {
  int64_t j = 0;
  for (; j + COLUMNS <= used; j += COLUMNS)
    cosine_tile<HALVES, R, COLUMNS>(u, panel + j * words * LANES, words, dots + j * LANES, columns);
  for (; j < used; ++j) cosine_tile<HALVES, R, 1>(u, panel + j * words * LANES, words, dots + j * LANES, columns);
}

// Dots of `rows` <= ROWS rows; more rows than asked for may be written, up to ROWS.
template <bool HALVES>
void cosine_chunk(const float* u, const float* panel, int64_t words, int64_t rows, int64_t used, float* dots,
                  int64_t columns) {
  if (rows > ROWS / 2)
    cosine_rows<HALVES, ROWS>(u, panel, words, used, dots, columns);
  else if (rows > 1)
    cosine_rows<HALVES, ROWS / 2>(u, panel, words, used, dots, columns);
  else
    cosine_rows<HALVES, 1>(u, panel, words, used, dots, columns);
}

// Where rows of cells lie: row above in, row below out (may be the same memory); `keep` also stores every cell.
struct Rows {
  const float *above_m, *above_e;
  float *below_m, *below_e;
  float *keep_m, *keep_e;  // cell (r, j) of this sweep at r * keep_stride + j * LANES
  int64_t keep_stride;
};

template <int R, bool KEEP>
INLINE void sweep_step(const Rows& at, const float* dots, int64_t used, int64_t columns, int64_t now, bool inside,
                       Cell* left, Cell* corner, Vec s) {
#pragma GCC unroll 8
  for (int r = R - 1; r >= 0; --r) {
    const int64_t j = now - r;
    if (!inside && (j < 0 || j >= used)) continue;
    Cell up = r ? left[r ? r - 1 : 0] : Cell{load(at.above_m + j * LANES), load(at.above_e + j * LANES)};
    Cell here = step(up, left[r], corner[r], load(dots + (r * columns + j) * LANES), s);
    corner[r] = up;
    left[r] = here;
    if (KEEP) {
      store(at.keep_m + r * at.keep_stride + j * LANES, here.m);
      store(at.keep_e + r * at.keep_stride + j * LANES, here.e);
    }
    if (r == R - 1) {
      here = normal(here);
      store(at.below_m + j * LANES, here.m);
      store(at.below_e + j * LANES, here.e);
    }
  }
}

// R rows of the table by a skewed wavefront whose cells stay in registers: row r is r columns behind row 0.
template <int R, bool KEEP>
__attribute__((noinline)) void sweep(const Rows& at, const float* dots, int64_t used, int64_t columns, bool first,
                                     Vec s) {
  Cell left[R], corner[R];
  for (int r = 0; r < R; ++r) left[r] = corner[r] = outside();
  if (first) corner[0] = start();
  const int64_t steps = used + R - 1;
  for (int64_t base = 0; base < steps; base += kRenormalise) {
    const int64_t stop = std::min<int64_t>(base + kRenormalise, steps);
    for (int64_t now = base; now < stop; ++now) {
      if (now >= R - 1 && now < used)
        sweep_step<R, KEEP>(at, dots, used, columns, now, true, left, corner, s);
      else
        sweep_step<R, KEEP>(at, dots, used, columns, now, false, left, corner, s);
    }
    for (int r = 0; r < R; ++r) left[r] = normal(left[r]), corner[r] = normal(corner[r]);
  }
}

template <bool KEEP>
void sweep_rows(int64_t rows, const Rows& at, const float* dots, int64_t used, int64_t columns, bool first, Vec s) {
  switch (rows) {
    case 1: return sweep<1, KEEP>(at, dots, used, columns, first, s);
    case 2: return sweep<2, KEEP>(at, dots, used, columns, first, s);
    case 3: return sweep<3, KEEP>(at, dots, used, columns, first, s);
    default: return sweep<4, KEEP>(at, dots, used, columns, first, s);
  }
}

// Walk a kept table backwards. `cells_*`: (n + 1) x (columns + 1) with border; `inbox`: mass that arrived at the last
// row, then scratch. Writes the mass of each cell to `mass` [n][columns]. Every cell shares its mass among its
// predecessors in proportion to their values: the shares sum to one, nothing is lost to cancellation.
void reverse(const float* cells_m, const float* cells_e, int64_t n, int64_t used, int64_t columns, float* inbox,
             Ints live, float* mass) {
  const int64_t stride = (columns + 1) * LANES;
  for (int64_t i = n - 1; i >= 0; --i) {
    const float *m = cells_m + i * stride, *e = cells_e + i * stride;
    Vec carry_left = all(0.f), carry_corner = all(0.f);
    Cell up = {load(m + used * LANES), load(e + used * LANES)};
    for (int64_t j = used - 1; j >= 0; --j) {
      const int64_t at = j * LANES;
      Cell corner = {load(m + at), load(e + at)};
      Cell left = {load(m + stride + at), load(e + stride + at)};
      Vec top = larger(larger(up.e, left.e), corner.e);
      Vec a = scale(up.m, up.e - top), b = scale(left.m, left.e - top), c = scale(corner.m, corner.e - top);
      Vec here = load(inbox + at) + carry_left;
      Vec share = here / ((a + b) + c);
      store(mass + i * columns * LANES + at, (Vec)((Ints)here & live));
      store(inbox + at, mul_add(a, share, carry_corner));
      carry_left = b * share;
      carry_corner = c * share;
      up = corner;
    }
  }
}

}  // namespace
