#include "backend/cpu/attention_tiles.h"

#include <array>
#include <utility>

#include "backend/cpu/transpose.h"

namespace stepd::STEPD_ISA {
namespace {

// --- product ---------------------------------------------------------------------------------------------------------
// A tile of M rows and N vectors stays in registers while it runs along the depth: per step N loads, M broadcasts and
// M*N multiply-adds. M is the largest that leaves room for the N loaded vectors and one broadcast.
#if defined(__AVX512F__)
constexpr int kRegisters = 32, kMaxVectors = 5;
#else
constexpr int kRegisters = 16, kMaxVectors = 3;
#endif
constexpr int tile_rows(int vectors) { return std::min(12, (kRegisters - vectors - 1) / vectors); }

using Tile = void (*)(Strided a, const float* b, int64_t ldb, int64_t depth, float* c, int64_t ldc, bool accumulate);

template <int N, int M>
void tile(Strided a, const float* b, int64_t ldb, int64_t depth, float* c, int64_t ldc, bool accumulate) {
    Vec sum[M][N];
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) sum[i][j] = accumulate ? load(c + i * ldc + j * W) : set1(0.f);
    for (int64_t l = 0; l < depth; l++) {
        Vec row[N];
        for (int j = 0; j < N; j++) row[j] = load(b + l * ldb + j * W);
        for (int i = 0; i < M; i++) {
            Vec element = set1(a.data[i * a.row + l * a.col]);
            for (int j = 0; j < N; j++) sum[i][j] = fma(element, row[j], sum[i][j]);
        }
    }
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) store(c + i * ldc + j * W, sum[i][j]);
}

template <int N, int... M>
constexpr std::array<Tile, 12> tiles_of(std::integer_sequence<int, M...>) {
    return {tile<N, M + 1>...};
}
template <int... N>
constexpr auto all_tiles(std::integer_sequence<int, N...>) {
    return std::array{tiles_of<N + 1>(std::make_integer_sequence<int, tile_rows(N + 1)>())...};
}
constexpr auto kTiles = all_tiles(std::make_integer_sequence<int, kMaxVectors>());  // [vectors - 1][rows - 1]

// --- packing ---------------------------------------------------------------------------------------------------------
// Reads W rows of W columns as vectors, zeros where the matrix ends.
template <class T>
inline void load_block(const T* x, int64_t ld, int64_t rows, int64_t cols, Vec (&block)[W]) {
    for (int64_t i = 0; i < W; i++) {
        if (i >= rows)
            block[i] = set1(0.f);
        else if (cols >= W)
            block[i] = load(x + i * ld);
        else
            block[i] = load_part(x + i * ld, int(cols));
    }
}

// Calls store(c, r, column) for each column c of x and each group r of W rows; `column` holds x(r .. r+W-1, c).
template <class Store>
void for_columns(const HeadRows& x, int64_t rows, int64_t padded_rows, const Store& store_column) {
    with_types(
        [&](const auto* data) {
            data += x.first;
            for (int64_t r = 0; r < padded_rows; r += W) {
                for (int64_t c = 0; c < x.width; c += W) {
                    Vec block[W];
                    int64_t cols = std::min<int64_t>(W, x.width - c);
                    load_block(data + r * x.ld + c, x.ld, rows - r, cols, block);
                    transpose(block);
                    for (int64_t i = 0; i < cols; i++) store_column(c + i, r, block[i]);
                }
            }
        },
        x.tensor);
}

}  // namespace

void tile_product(Strided a, const float* b, int64_t ldb, int64_t rows, int64_t cols, int64_t depth, float* c,
                  int64_t ldc, bool accumulate) {
    int64_t vectors = cols / W, strips = (vectors + kMaxVectors - 1) / kMaxVectors;
    for (int64_t strip = 0, first = 0; strip < strips; strip++) {
        int64_t count = vectors / strips + (strip < vectors % strips);
        const auto& tiles = kTiles[size_t(count - 1)];
        int64_t height = tile_rows(int(count));
        for (int64_t i = 0; i < rows; i += height) {
            Tile run = tiles[size_t(std::min(height, rows - i) - 1)];
            run({a.data + i * a.row, a.row, a.col}, b + first * W, ldb, depth, c + i * ldc + first * W, ldc,
                accumulate);
        }
        first += count;
    }
}

void pack_rows(const HeadRows& x, int64_t rows, float* to, int64_t ld_to) {
    with_types(
        [&](const auto* data) {
            for (int64_t r = 0; r < rows; r++) {
                for_vectors(x.width, [&](int64_t c, auto lanes) {
                    store(to + r * ld_to + c, load(data + x.first + r * x.ld + c, lanes));
                });
                for (int64_t c = round_up(x.width, W); c < ld_to; c += W) store(to + r * ld_to + c, set1(0.f));
            }
        },
        x.tensor);
}

void pack_transposed(const HeadRows& x, int64_t rows, float* to, int64_t ld_to) {
    for_columns(x, rows, ld_to, [&](int64_t c, int64_t r, Vec column) { store(to + c * ld_to + r, column); });
}

void scale_and_add_transposed(const HeadRows& x, int64_t rows, float scale, float* to, int64_t ld_to) {
    for_columns(x, rows, ld_to, [&](int64_t c, int64_t r, Vec column) {
        float* p = to + c * ld_to + r;
        store(p, fma(load(p), set1(scale), column));
    });
}

void row_products(const HeadRows& x, const HeadRows& y, int64_t rows, float* products) {
    with_types(
        [&](const auto* a, const auto* b) {
            for (int64_t r = 0; r < rows; r++) {
                Vec total = set1(0.f);
                for_vectors(x.width, [&](int64_t c, auto lanes) {
                    total =
                        fma(load(a + x.first + r * x.ld + c, lanes), load(b + y.first + r * y.ld + c, lanes), total);
                });
                products[r] = sum(total);
            }
        },
        x.tensor, y.tensor);
}

void unpack_rows(const float* from, int64_t ld_from, int64_t rows, const HeadRows& x) {
    with_types(
        [&](auto* data) {
            for (int64_t r = 0; r < rows; r++) {
                for_vectors(x.width, [&](int64_t c, auto lanes) {
                    store(data + x.first + r * x.ld + c, load(from + r * ld_from + c), lanes);
                });
            }
        },
        x.tensor);
}

void unpack_transposed(const float* from, int64_t ld_from, const float* factor, int64_t rows, const HeadRows& x) {
    with_types(
        [&](auto* data) {
            data += x.first;
            for (int64_t r = 0; r < rows; r += W) {
                for (int64_t c = 0; c < x.width; c += W) {
                    Vec block[W];
                    int64_t cols = std::min<int64_t>(W, x.width - c);
                    Vec scale = factor ? load(factor + r) : set1(1.f);
                    for (int64_t i = 0; i < W; i++)
                        block[i] = i < cols ? load(from + (c + i) * ld_from + r) * scale : set1(0.f);
                    transpose(block);
                    for (int64_t i = 0; i < std::min<int64_t>(W, rows - r); i++) {
                        if (cols >= W)
                            store(data + (r + i) * x.ld + c, block[i]);
                        else
                            store_part(data + (r + i) * x.ld + c, block[i], int(cols));
                    }
                }
            }
        },
        x.tensor);
}

}  // namespace stepd::STEPD_ISA
