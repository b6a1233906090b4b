// Soft-DTW of many pairs on a CPU: plain C entry points, one shared object per instruction set (see lanes.h).
//
// Pairs lie across vector lanes: a block is LANES videos of the gallery, its panel [columns][words][LANES]. Tasks are
// fixed by the shapes and write to their own memory, so the number of threads does not change a bit.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "table.h"
#include "tiles.h"

namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float[], Free>;

Buffer buffer(int64_t floats) {
  void* p = std::aligned_alloc(64, (static_cast<size_t>(floats) * 4 + 63) / 64 * 64 + 64);
  if (!p) throw std::bad_alloc();
  return Buffer(static_cast<float*>(p));
}

// Within its scope, what falls below 2^-126 is 0 at once: next to the largest of a sum it has no effect, and processors
// by Intel take hundreds of cycles for every operation that meets such a number.
struct FlushToZero {
#if defined(__SSE__)
  unsigned before = _mm_getcsr();
  FlushToZero() { _mm_setcsr(before | 0x8040); }
  ~FlushToZero() { _mm_setcsr(before); }
#endif
};

// Returns 0, or 1 if memory ran out in any thread.
int run_tasks(int64_t count, int64_t threads, const std::function<void(const std::function<int64_t()>&)>& worker) {
  std::atomic<int64_t> next{0};
  std::atomic<int> failed{0};
  auto body = [&] {
    FlushToZero scope;
    try {
      worker([&] {
        int64_t task = next.fetch_add(1);
        return task < count ? task : -1;
      });
    } catch (const std::exception&) {
      failed = 1;
    }
  };
  std::vector<std::thread> others;
  try {
    for (int64_t i = 1; i < std::min(threads, count); ++i) others.emplace_back(body);
  } catch (const std::system_error&) {  // fewer threads than asked for do the same work
  }
  body();
  for (auto& t : others) t.join();
  return failed;
}

// The two sides of a call. u: [U][rows][words]; panel: [blocks][columns][words][LANES]; lengths per video and slot.
struct Sides {
  const float* u;
  const int64_t* u_len;
  int64_t videos, rows, words;
  const float* panel;
  const int64_t* g_len;
  int64_t blocks, columns, gallery;
  double s;  // log2(e) / gamma
  int parts;  // of a number: 0 = it is a float32, 1 = a bfloat16, 3 = the sum of three bfloat16

  int64_t used(int64_t block) const { return *std::max_element(g_len + block * LANES, g_len + (block + 1) * LANES); }
  const float* block_panel(int64_t block) const { return panel + block * columns * words * LANES; }
};

// Rows of u whose dot products are made at once.
int64_t chunk_rows(const Sides& in) {
#if defined(__AMX_BF16__)
  if (in.parts) return 2 * TILE_ROWS;
#endif
  return ROWS;
}

// Chunks of one video: [words][ROWS], or, for the matrix unit, tile by tile (tiles.h). Rows beyond the last mean nothing.
void turn(const Sides& in, int64_t video, float* out) {
  const float* from = in.u + video * in.rows * in.words;
  const int64_t rows = in.u_len[video], chunk = chunk_rows(in);
  if (chunk != ROWS) {
    const int64_t words = in.words / in.parts;
    for (int64_t top = 0; top < rows; top += chunk)
      for (int64_t k = 0; k < words; k += 16)
        for (int64_t p = 0; p < in.parts; ++p, out += chunk * 16)
          for (int64_t r = 0; r < std::min(chunk, rows - top); ++r)
            std::copy_n(from + (top + r) * in.words + p * words + k, 16, out + r * 16);
    return;
  }
  for (int64_t top = 0; top < rows; top += ROWS, out += in.words * ROWS)
    for (int64_t k = 0; k < in.words; ++k)
      for (int64_t r = 0; r < ROWS; ++r) out[k * ROWS + r] = top + r < rows ? from[(top + r) * in.words + k] : 0.f;
}

int64_t turned_size(const Sides& in) {
  const int64_t chunk = chunk_rows(in);
  return (in.rows + chunk - 1) / chunk * chunk * in.words;
}

void dots_of(const Sides& in, const float* turned, const float* panel, int64_t rows, int64_t used, float* dots) {
#if defined(__AMX_BF16__)
  if (in.parts == 3) return tile_cosines<3>(turned, panel, in.words / 3, rows, used, dots, in.columns);
  if (in.parts) return tile_cosines<1>(turned, panel, in.words, rows, used, dots, in.columns);
#endif
  if (in.parts)
    cosine_chunk<true>(turned, panel, in.words, rows, used, dots, in.columns);
  else
    cosine_chunk<false>(turned, panel, in.words, rows, used, dots, in.columns);
}

struct Edge {  // one row of cells
  Buffer m, e;
  explicit Edge(int64_t columns) : m(buffer(columns * LANES)), e(buffer(columns * LANES)) {}
  void clear(int64_t columns) {
    std::fill_n(m.get(), columns * LANES, 0.f);
    std::fill_n(e.get(), columns * LANES, kNever);
  }
};

// Leaves the last row of the table of one video and one block in `edge`.
void table_edge(const Sides& in, const float* turned, int64_t video, int64_t block, float* dots, Edge& edge) {
  const int64_t n = in.u_len[video], used = in.used(block);
  const Vec s = all(static_cast<float>(in.s));
  edge.clear(used);
  for (int64_t top = 0; top < n; top += chunk_rows(in)) {
    const int64_t rows = std::min(chunk_rows(in), n - top);
    dots_of(in, turned + top * in.words, in.block_panel(block), rows, used, dots);
    for (int64_t r = 0; r < rows; r += 4) {
      Rows at{edge.m.get(), edge.e.get(), edge.m.get(), edge.e.get(), nullptr, nullptr, 0};
      sweep_rows<false>(std::min<int64_t>(4, rows - r), at, dots + r * in.columns * LANES, used, in.columns,
                        top + r == 0, s);
    }
  }
}

float distance(const Sides& in, const Edge& edge, int64_t column, int64_t lane) {
  const int64_t at = column * LANES + lane;
  return static_cast<float>(-(static_cast<double>(edge.e[at]) + std::log2(edge.m[at])) /
                            static_cast<double>(static_cast<float>(in.s)));
}

constexpr int64_t kSlab = 16;   // videos of u a task turns once
constexpr int64_t kBlocks = 32;  // and blocks of the gallery it meets with them

void forward_task(const Sides& in, int64_t first_u, int64_t first_block, bool triangle, const int64_t* order,
                  float* turned, float* dots, Edge& edge, float* out) {
  const int64_t last_u = std::min(first_u + kSlab, in.videos), last_block = std::min(first_block + kBlocks, in.blocks);
  const int64_t size = turned_size(in);
  if (triangle && last_block * LANES <= first_u) return;
  for (int64_t u = first_u; u < last_u; ++u) turn(in, u, turned + (u - first_u) * size);
  for (int64_t b = first_block; b < last_block; ++b)
    for (int64_t u = first_u; u < last_u; ++u) {
      if (triangle && (b + 1) * LANES <= u) continue;
      table_edge(in, turned + (u - first_u) * size, u, b, dots, edge);
      for (int64_t lane = 0; lane < LANES && b * LANES + lane < in.gallery; ++lane) {
        const int64_t slot = b * LANES + lane;
        out[u * in.gallery + order[slot]] = distance(in, edge, in.g_len[slot] - 1, lane);
      }
    }
}

// What one backward task needs, and where its share of the gradients goes.
struct Backward {
  const Sides& in;
  const float* y;     // rows [slots][columns][words]
  const float* grad;  // [U][slots]
  Buffer turned, dots, cells_m, cells_e, inbox;

  explicit Backward(const Sides& sides, const float* y_rows, const float* upstream)
      : in(sides), y(y_rows), grad(upstream), turned(buffer(turned_size(sides))),
        dots(buffer((sides.rows + ROWS) * sides.columns * LANES)),
        cells_m(buffer((sides.rows + 1) * (sides.columns + 1) * LANES)),
        cells_e(buffer((sides.rows + 1) * (sides.columns + 1) * LANES)), inbox(buffer(sides.columns * LANES)) {}

  void keep_table(int64_t video, int64_t block) {
    const int64_t n = in.u_len[video], used = in.used(block), stride = (in.columns + 1) * LANES;
    const Vec s = all(static_cast<float>(in.s));
    Edge edge(in.columns);
    edge.clear(used);
    for (int64_t i = 0; i <= n; ++i) {
      store(cells_m.get() + i * stride, all(i ? 0.f : 1.f));
      store(cells_e.get() + i * stride, all(i ? kNever : 0.f));
    }
    for (int64_t j = 1; j <= used; ++j) {
      store(cells_m.get() + j * LANES, all(0.f));
      store(cells_e.get() + j * LANES, all(kNever));
    }
    for (int64_t top = 0; top < n; top += ROWS) {
      const int64_t rows = std::min<int64_t>(ROWS, n - top);
      float* part = dots.get() + top * in.columns * LANES;
      dots_of(in, turned.get() + top * in.words, in.block_panel(block), rows, used, part);
      for (int64_t r = 0; r < rows; r += 4) {
        const int64_t first = (top + r + 1) * stride + LANES;
        Rows at{edge.m.get(), edge.e.get(), edge.m.get(), edge.e.get(), cells_m.get() + first, cells_e.get() + first,
                stride};
        sweep_rows<true>(std::min<int64_t>(4, rows - r), at, part + r * in.columns * LANES, used, in.columns,
                         top + r == 0, s);
      }
    }
  }

  // Adds to grad_u [rows][words] and grad_y [LANES][columns][words].
  void pair_block(int64_t video, int64_t block, float* grad_u, float* grad_y) {
    const int64_t n = in.u_len[video], used = in.used(block);
    const float* g = grad + video * in.blocks * LANES + block * LANES;
    Ints live;
    bool any = false;
    std::fill_n(inbox.get(), used * LANES, 0.f);
    for (int64_t lane = 0; lane < LANES; ++lane) {
      live[lane] = g[lane] != 0.f ? -1 : 0;
      any |= g[lane] != 0.f;
      inbox[(in.g_len[block * LANES + lane] - 1) * LANES + lane] = g[lane];
    }
    if (!any) return;
    keep_table(video, block);
    reverse(cells_m.get(), cells_e.get(), n, used, in.columns, inbox.get(), live, dots.get());
    scatter(video, block, g, grad_u, grad_y);
  }

  // Gradients of the unit rows from the mass in `dots`: at small gamma it sits on few cells, so cell by cell.
  void scatter(int64_t video, int64_t block, const float* g, float* grad_u, float* grad_y) {
    const int64_t n = in.u_len[video], used = in.used(block), panel = in.columns * in.words;
    Vec tiny;  // what is left out sums to less than 1e-7 of the gradient for tables of 40 x 40 cells
    for (int lane = 0; lane < LANES; ++lane) tiny[lane] = std::fabs(g[lane]) * 5.8e-11f;
    const float* u = in.u + video * in.rows * in.words;
    const float* v = y + block * LANES * panel;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < used; ++j) {
        const float* cell = dots.get() + (i * in.columns + j) * LANES;
        for (uint32_t bits = above(load(cell), tiny); bits; bits &= bits - 1) {
          const int lane = __builtin_ctz(bits);
          const int64_t at = lane * panel + j * in.words;
          spread(cell[lane], u + i * in.words, v + at, grad_u + i * in.words, grad_y + at);
        }
      }
  }

  void spread(float mass, const float* u, const float* v, float* grad_u, float* grad_v) const {
    const Vec a = all(-mass);
    for (int64_t k = 0; k < in.words; k += LANES) {
      store(grad_u + k, mul_add(a, load(v + k), load(grad_u + k)));
      store(grad_v + k, mul_add(a, load(u + k), load(grad_v + k)));
    }
  }
};

}  // namespace

extern "C" {

int64_t soft_dtw_lanes() { return LANES; }

// `rounds` times COLUMNS * ROWS independent multiply-adds in registers: what the cores can do at best. Returns the
// floating-point operations done; `sink` keeps the compiler from leaving them out.
int64_t soft_dtw_probe(int64_t rounds, float* sink) {
  Vec sum[ROWS * COLUMNS];
  for (int i = 0; i < ROWS * COLUMNS; ++i) sum[i] = all(sink[0] + static_cast<float>(i));
  const Vec a = all(sink[0]), b = all(sink[1]);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 32
    for (int i = 0; i < ROWS * COLUMNS; ++i) sum[i] = mul_add(sum[i], a, b);
  Vec total = all(0.f);
  for (int i = 0; i < ROWS * COLUMNS; ++i) total += sum[i];
  sink[0] = total[0];
  return rounds * ROWS * COLUMNS * LANES * 2;
}

// out [videos][gallery], column order[slot]. `triangle`: pairs with slot < video mean nothing and may be skipped.
int soft_dtw_forward(const float* u, const int64_t* u_len, int64_t videos, int64_t rows, int64_t words,
                     const float* panel, const int64_t* g_len, int64_t blocks, int64_t columns, int64_t gallery,
                     double s, int parts, int triangle, const int64_t* order, float* out, int64_t threads) {
  const Sides in{u, u_len, videos, rows, words, panel, g_len, blocks, columns, gallery, s, parts};
  const int64_t across = (blocks + kBlocks - 1) / kBlocks, down = (videos + kSlab - 1) / kSlab;
  return run_tasks(across * down, threads, [&](const std::function<int64_t()>& next) {
    Buffer turned = buffer(kSlab * turned_size(in)), dots = buffer(chunk_rows(in) * columns * LANES);
    Edge edge(columns);
#if defined(__AMX_BF16__)
    Tiles scope;
#endif
    for (int64_t t = next(); t >= 0; t = next())
      forward_task(in, t / across * kSlab, t % across * kBlocks, triangle != 0, order, turned.get(), dots.get(), edge,
                   out);
  });
}

// Adds gradients for grad [videos][blocks * LANES]: task (a, b) meets the a-th of `parts_u` ranges of videos with the
// b-th of `parts_g` ranges of blocks and adds to grad_u[b] [videos][rows][words], grad_y[a] [slots][columns][words].
// words is a multiple of LANES; y holds the gallery as rows, and all of it is aligned to 64 bytes.
int soft_dtw_backward(const float* u, const int64_t* u_len, int64_t videos, int64_t rows, int64_t words,
                      const float* panel, const int64_t* g_len, int64_t blocks, int64_t columns, double s,
                      const float* y, const float* grad, int64_t parts_u, int64_t parts_g, float* grad_u,
                      float* grad_y, int64_t threads) {
  const Sides in{u, u_len, videos, rows, words, panel, g_len, blocks, columns, blocks * LANES, s, 0};
  return run_tasks(parts_u * parts_g, threads, [&](const std::function<int64_t()>& next) {
    Backward work(in, y, grad);
    for (int64_t t = next(); t >= 0; t = next()) {
      const int64_t a = t / parts_g, b = t % parts_g;
      float* to_u = grad_u + b * videos * rows * words;
      float* to_y = grad_y + a * blocks * LANES * columns * words;
      for (int64_t block = b * blocks / parts_g; block < (b + 1) * blocks / parts_g; ++block)
        for (int64_t v = a * videos / parts_u; v < (a + 1) * videos / parts_u; ++v) {
          turn(in, v, work.turned.get());
          work.pair_block(v, block, to_u + v * rows * words, to_y + block * LANES * columns * words);
        }
    }
  });
}

}
