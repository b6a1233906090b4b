// One vector of LANES floats = the same cell of LANES pairs, and the few operations on it, per instruction set.
// Written so that the same input gives the same bits wherever it stands: every fused multiply-add is explicit.
#pragma once

#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define ROWS 8
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#define ROWS 4
#else
#define LANES 4
#define ROWS 4
#endif
#define COLUMNS 3  // with ROWS: accumulators of a cosine tile; fills the registers
#define INLINE static inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

INLINE Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
INLINE void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
INLINE Vec all(float x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (Vec)_mm256_set1_ps(x);
#else
  return (Vec){x, x, x, x};
#endif
}

#if defined(__AVX512F__)

INLINE Vec mul_add(Vec a, Vec b, Vec c) { return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE Vec larger(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE Vec nearest(Vec a) { return (Vec)_mm512_roundscale_ps((__m512)a, 8); }
INLINE Vec scale(Vec m, Vec k) { return (Vec)_mm512_scalef_ps((__m512)m, (__m512)k); }  // m 2^k
INLINE Vec exponent(Vec m) { return (Vec)_mm512_getexp_ps((__m512)m); }
INLINE uint32_t above(Vec a, Vec limit) {  // which lanes have |a| > limit (or are NaN), as bits
  return _mm512_cmp_ps_mask(_mm512_abs_ps((__m512)a), (__m512)limit, _CMP_NLE_UQ);
}

#elif defined(__AVX2__)

INLINE Vec mul_add(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE Vec larger(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE Vec nearest(Vec a) { return (Vec)_mm256_round_ps((__m256)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE Vec scale(Vec m, Vec k) {  // m 2^k; 2^k is 0 below 2^-126
  Ints bits = (Ints)_mm256_cvtps_epi32((__m256)larger(k, all(-127.f))) + 127;
  return m * (Vec)(bits << 23);
}
INLINE Vec exponent(Vec m) {
  return (Vec)_mm256_cvtepi32_ps((__m256i)((((Ints)m >> 23) & 255) - 127));
}
INLINE uint32_t above(Vec a, Vec limit) {
  __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.f), (__m256)a);
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(size, (__m256)limit, _CMP_NLE_UQ)));
}

#else

INLINE Vec mul_add(Vec a, Vec b, Vec c) { return a * b + c; }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }
INLINE Vec nearest(Vec a) {  // beyond 2^23 a float is a whole number already
  Vec size = a < 0.f ? -a : a;
  Vec up = a + (a < 0.f ? all(-0.5f) : all(0.5f));
  Vec inside = size < 8388608.f ? up : all(0.f);
  Vec whole = __builtin_convertvector(__builtin_convertvector(inside, Ints), Vec);
  return size < 8388608.f ? whole : a;
}
INLINE Vec scale(Vec m, Vec k) {
  Ints bits = __builtin_convertvector(larger(k, all(-127.f)), Ints) + 127;
  return m * (Vec)(bits << 23);
}
INLINE Vec exponent(Vec m) {
  return __builtin_convertvector((((Ints)m >> 23) & 255) - 127, Vec);
}
INLINE uint32_t above(Vec a, Vec limit) {
  uint32_t bits = 0;
  for (int lane = 0; lane < LANES; ++lane) {
    float size = a[lane] < 0.f ? -a[lane] : a[lane];
    bits |= static_cast<uint32_t>(!(size <= limit[lane])) << lane;
  }
  return bits;
}

#endif

// 2^f for f in [-1/2, 1/2]: minimax polynomial of degree 5, relative error 7.5e-8.
INLINE Vec power_of_two(Vec f) {
  Vec p = all(0.0013276472f);
  p = mul_add(p, f, all(0.0096755415f));
  p = mul_add(p, f, all(0.0555071328f));
  p = mul_add(p, f, all(0.2402211972f));
  p = mul_add(p, f, all(0.6931469671f));
  return mul_add(p, f, all(1.0000000717f));
}
