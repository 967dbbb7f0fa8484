// f32 matrix product on vector registers, after Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication" (2008): operands packed to f32 panels, B panel in L1, A panels and partial sums in L2.
//
// bf16 operands are widened while packing: a bf16 dot product instruction has half the rate of an f32 multiply-add on
// the machines that have one and no tiles.
#include "backend/cpu/gemm_epilogue.h"
#include "backend/cpu/gemm_internal.h"
#include "backend/cpu/gemm_pack.h"

namespace stepd::STEPD_ISA {
namespace {

// The micro-kernel keeps kRows x kVecs vectors of C in registers, beside kVecs of B and one broadcast element of A.
// A B panel of kDepth x kCols floats fills three quarters of the L1 cache.
constexpr int kVecs = 3;
constexpr int kCols = kVecs * W;
#ifdef __AVX512F__
constexpr int kRows = 8;
constexpr int64_t kDepth = 192;
constexpr int64_t kMaxTile = 384;
#else
constexpr int kRows = 4;
constexpr int64_t kDepth = 256;
constexpr int64_t kMaxTile = 192;
#endif
constexpr int64_t kBlock = kRows * kCols;  // floats of one micro-tile of C
constexpr TileLimits kLimits{kMaxTile, kMaxTile, kRows, kCols, 6.0 * W / 16};

// c[kRows][kCols] (+)= A panel * B panel, the first V vectors of each row.
template <int V>
void micro_kernel(const float* a, const float* b, int64_t depth, float* c, bool accumulate) {
    Vec acc[kRows][V];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < V; j++) acc[i][j] = accumulate ? load(c + i * kCols + j * W) : set1(0.f);
    for (int64_t k = 0; k < depth; k++, a += kRows, b += kCols) {
        Vec bk[V];
#pragma GCC unroll 3
        for (int j = 0; j < V; j++) bk[j] = load(b + j * W);
#pragma GCC unroll 8
        for (int i = 0; i < kRows; i++) {
            Vec ai = set1(a[i]);
#pragma GCC unroll 3
            for (int j = 0; j < V; j++) acc[i][j] = fma(ai, bk[j], acc[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < V; j++) store(c + i * kCols + j * W, acc[i][j]);
}

void multiply_panels(int64_t cols, const float* a, const float* b, int64_t depth, float* c, bool accumulate) {
    if (cols > 2 * W) return micro_kernel<3>(a, b, depth, c, accumulate);
    if (cols > W) return micro_kernel<2>(a, b, depth, c, accumulate);
    micro_kernel<1>(a, b, depth, c, accumulate);
}

// Packs rows [row, row+rows) x [k, k+depth) of an operand; by_row says that k runs along memory.
template <int P, class T>
void pack(const T* data, int64_t ld, bool by_row, int64_t row, int64_t k, int64_t rows, int64_t depth, float* dst) {
    if (by_row)
        pack_rows<P>(data + row * ld + k, ld, rows, depth, dst);
    else
        pack_columns<P>(data + k * ld + row, ld, rows, depth, dst);
}
template <int P>
void pack(const Matrix& m, bool by_row, int64_t row, int64_t k, int64_t rows, int64_t depth, float* dst) {
    if (m.dtype == DType::f32)
        pack<P>(static_cast<const float*>(m.data), m.ld, by_row, row, k, rows, depth, dst);
    else
        pack<P>(static_cast<const bf16*>(m.data), m.ld, by_row, row, k, rows, depth, dst);
}

// Equal blocks along k, so that no short one is left over.
int64_t block_depth(int64_t k) { return round_up(divide_up(k, divide_up(k, kDepth)), 16); }

// Working memory of one thread.
struct Workspace {
    float* a;     // tile_rows x depth
    float* b;     // depth x tile_cols
    float* sums;  // micro-tiles of the C tile, column panel by column panel; one suffices when k is one block

    static size_t bytes(const Gemm& g, const TileGrid& grid) {
        int64_t depth = block_depth(g.k);
        int64_t sums = g.k <= depth ? kBlock : grid.tile_rows * grid.tile_cols;
        return size_t((grid.tile_rows + grid.tile_cols) * depth + sums) * sizeof(float);
    }
    Workspace(void* memory, const Gemm& g, const TileGrid& grid)
        : a(static_cast<float*>(memory)),
          b(a + grid.tile_rows * block_depth(g.k)),
          sums(b + grid.tile_cols * block_depth(g.k)) {}
};

void compute_tile(const Gemm& g, const TileGrid& grid, int64_t ticket, const Workspace& w) {
    int64_t row = ticket % grid.row_tiles * grid.tile_rows, col = ticket / grid.row_tiles * grid.tile_cols;
    int64_t rows = std::min(grid.tile_rows, g.m - row), cols = std::min(grid.tile_cols, g.n - col);
    int64_t full_depth = block_depth(g.k);
    for (int64_t k = 0; k < g.k; k += full_depth) {
        int64_t depth = std::min(full_depth, g.k - k);
        bool last = k + depth == g.k;
        pack<kCols>(g.b, g.b_transposed, col, k, cols, depth, w.b);
        pack<kRows>(g.a, !g.a_transposed, row, k, rows, depth, w.a);
        float* sums = w.sums;
        for (int64_t j = 0; j < cols; j += kCols)
            for (int64_t i = 0; i < rows; i += kRows) {
                multiply_panels(cols - j, w.a + i * depth, w.b + j * depth, depth, sums, k > 0);
                if (last)
                    finish_block(g, row + i, col + j, std::min<int64_t>(kRows, rows - i),
                                 std::min<int64_t>(kCols, cols - j), sums, kCols);
                if (g.k > full_depth) sums += kBlock;
            }
    }
}

}  // namespace

size_t fma_scratch_bytes(const Gemm& g, int threads) { return Workspace::bytes(g, choose_grid(g, threads, kLimits)); }

void gemm_fma(const Gemm& g, Pool& pool, size_t reserved) {
    TileGrid grid = choose_grid(g, pool.threads(), kLimits);
    size_t bytes = Workspace::bytes(g, grid);
    pool.run(grid.tickets(), [&](int64_t ticket, int thread) {
        size_t skip = thread == 0 ? reserved : 0;
        char* memory = static_cast<char*>(pool.scratch(thread, skip + bytes)) + skip;
        compute_tile(g, grid, ticket, Workspace(memory, g, grid));
    });
}

}  // namespace stepd::STEPD_ISA
