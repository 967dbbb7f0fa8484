// f32 matrix product on vector registers, after Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication" (2008): operands packed to f32 panels, A panels and partial sums in L2. A panel of B is packed into
// L1 right before its use: the way through L2 costs more than packing it again for every tile.
//
// bf16 operands are widened while packing: a bf16 dot product instruction has half the rate of an f32 multiply-add on
// the machines that have one and no tiles.
#include "backend/cpu/gemm_epilogue.h"
#include "backend/cpu/gemm_internal.h"
#include "backend/cpu/gemm_pack.h"
#include "backend/cpu/gemm_prefetch.h"
#include "base/tile_queue.h"

namespace stepd::STEPD_ISA {
namespace {

// The micro-kernel keeps kRows x kVecs vectors of C in registers, beside kVecs of B and one broadcast element of A.
// A B panel of kDepth x kCols floats fills half of the L1 cache: the other half may belong to the core's other thread.
constexpr int kVecs = 3;
constexpr int kCols = kVecs * W;
#ifdef __AVX512F__
constexpr int kRows = 8;
constexpr int64_t kDepth = 112;
constexpr int64_t kMaxTile = 384;
#else
constexpr int kRows = 4;
constexpr int64_t kDepth = 256;
constexpr int64_t kMaxTile = 192;
#endif
constexpr int64_t kBlock = kRows * kCols;   // floats of one micro-tile of C
constexpr int64_t kKeptValues = 320 << 10;  // packed values of A that fit in L2 beside the rest
constexpr TileLimits kLimits{kMaxTile, kMaxTile, kRows, kCols, 12.0 * W / 16, 6.0 * W / 16, kKeptValues};

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

// A or the transpose of B. A "row" is a row of A or a column of B.
struct Operand {
    const Matrix& m;
    bool by_row;  // k runs along memory

    // Packs rows [row, row+rows) x [k, k+depth) to panels of P rows.
    template <int P>
    void pack(int64_t row, int64_t k, int64_t rows, int64_t depth, float* dst) const {
        m.dtype == DType::f32 ? pack<P>(static_cast<const float*>(m.data), row, k, rows, depth, dst)
                              : pack<P>(static_cast<const bf16*>(m.data), row, k, rows, depth, dst);
    }
    Prefetch prefetch(int64_t row, int64_t k, int64_t rows, int64_t depth, int64_t steps) const {
        return Prefetch(m, by_row, row, k, rows, depth, steps);
    }

private:
    template <int P, class T>
    void pack(const T* data, int64_t row, int64_t k, int64_t rows, int64_t depth, float* dst) const {
        if (by_row)
            pack_rows<P>(data + row * m.ld + k, m.ld, rows, depth, dst);
        else
            pack_columns<P>(data + k * m.ld + row, m.ld, rows, depth, dst);
    }
};

// sums[i] (+)= sum over k of row i of packed rows, in eight running sums.
void sum_packed_rows(const float* a, int64_t rows, int64_t depth, float* sums, bool accumulate) {
    static_assert(W == 2 * kRows);  // a vector holds two k's
    for (int64_t i = 0; i < rows; i += kRows, a += kRows * depth) {
        Vec run[4] = {set1(0.f), set1(0.f), set1(0.f), set1(0.f)};
        int64_t k = 0;
        for (; k + 8 <= depth; k += 8)
            for (int r = 0; r < 4; r++) run[r] += load(a + k * kRows + r * W);
        float t[W];
        store(t, (run[0] + run[1]) + (run[2] + run[3]));
        for (; k < depth; k++)
            for (int r = 0; r < kRows; r++) t[r] += a[k * kRows + r];
        for (int64_t r = 0; r < std::min<int64_t>(kRows, rows - i); r++)
            sums[i + r] = (accumulate ? sums[i + r] : 0.f) + t[r] + t[kRows + r];
    }
}

// Equal blocks along k, so that no short one is left over.
int64_t block_depth(int64_t k) { return round_up(divide_up(k, divide_up(k, kDepth)), 16); }

// Working memory of one thread.
struct Workspace {
    float* b;     // one panel, depth x kCols
    float* a;     // tile_rows x depth, or tile_rows x k when the rows are kept
    float* sums;  // micro-tiles of the C tile, column panel by column panel; one suffices when k is one block

    static int64_t a_floats(const Gemm& g, const TileGrid& grid) {
        return grid.tile_rows * (keeps_rows(g, grid, kLimits) ? round_up(g.k, 16) : block_depth(g.k));
    }
    static size_t bytes(const Gemm& g, const TileGrid& grid) {
        int64_t depth = block_depth(g.k);
        int64_t sums = g.k <= depth ? kBlock : grid.tile_rows * grid.tile_cols;
        return size_t(kCols * depth + a_floats(g, grid) + sums) * sizeof(float);
    }
    Workspace(void* memory, const Gemm& g, const TileGrid& grid)
        : b(static_cast<float*>(memory)), a(b + kCols * block_depth(g.k)), sums(a + a_floats(g, grid)) {}
};

// One tile of C.
class TileTask {
public:
    TileTask(const Gemm& g, const TileGrid& grid, int64_t tile, const Workspace& w)
        : g_(g),
          a_{g.a, !g.a_transposed},
          b_{g.b, g.b_transposed},
          w_(w),
          tile_rows_(grid.tile_rows),
          row_(tile / grid.col_tiles * grid.tile_rows),
          col_(tile % grid.col_tiles * grid.tile_cols),
          rows_(std::min(grid.tile_rows, g.m - row_)),
          cols_(std::min(grid.tile_cols, g.n - col_)),
          full_depth_(block_depth(g.k)),
          keeps_rows_(keeps_rows(g, grid, kLimits)) {}

    // `packed` says that the workspace holds the rows of this tile already.
    void run(bool packed) const {
        for (int64_t k = 0; k < g_.k; k += full_depth_) {
            int64_t depth = depth_at(k), next = k + depth;
            float* a = keeps_rows_ ? w_.a + k * tile_rows_ : w_.a;
            if (!packed) a_.pack<kRows>(row_, k, rows_, depth, a);
            if (g_.a_row_sums && col_ == 0) sum_packed_rows(a, rows_, depth, g_.a_row_sums + row_, k > 0);
            int64_t steps = divide_up(rows_, kRows) * divide_up(cols_, kCols);
            Prefetch next_a;
            if (!packed && next < g_.k)
                next_a = a_.prefetch(row_, next, rows_, depth_at(next), steps);
            else if (next == g_.k && row_ + rows_ < g_.m && col_ + cols_ == g_.n)  // probably this thread's next tile
                next_a = a_.prefetch(row_ + rows_, 0, std::min(tile_rows_, g_.m - row_ - rows_), depth_at(0), steps);
            multiply_block(k, depth, a, next_a);
        }
    }

private:
    int64_t depth_at(int64_t k) const { return std::min(full_depth_, g_.k - k); }
    int64_t panel_cols(int64_t j) const { return std::min<int64_t>(kCols, cols_ - j); }

    // Adds the products along [k, k+depth) to the sums, and finishes C after the last.
    void multiply_block(int64_t k, int64_t depth, const float* a, Prefetch& next_a) const {
        const bool last = k + depth == g_.k, several = g_.k > full_depth_;
        const int64_t steps = divide_up(rows_, kRows);
        float* sums = w_.sums;
        for (int64_t j = 0; j < cols_; j += kCols) {
            b_.pack<kCols>(col_ + j, k, panel_cols(j), depth, w_.b);
            Prefetch next_b;
            if (j + kCols < cols_)
                next_b = b_.prefetch(col_ + j + kCols, k, panel_cols(j + kCols), depth, steps);
            else if (!last)
                next_b = b_.prefetch(col_, k + depth, panel_cols(0), depth_at(k + depth), steps);
            for (int64_t i = 0; i < rows_; i += kRows) {
                next_b.advance();
                next_a.advance();
                multiply_panels(panel_cols(j), a + i * depth, w_.b, depth, sums, k > 0);
                if (last)
                    finish_block(g_, row_ + i, col_ + j, std::min<int64_t>(kRows, rows_ - i), panel_cols(j), sums,
                                 kCols);
                if (several) sums += kBlock;
            }
        }
    }

    const Gemm& g_;
    const Operand a_, b_;
    const Workspace& w_;
    const int64_t tile_rows_, row_, col_, rows_, cols_, full_depth_;
    const bool keeps_rows_;
};

}  // namespace

size_t fma_scratch_bytes(const Gemm& g, int threads) { return Workspace::bytes(g, choose_grid(g, threads, kLimits)); }

void gemm_fma(const Gemm& g, Pool& pool, size_t reserved) {
    TileGrid grid = choose_grid(g, pool.threads(), kLimits);
    size_t bytes = Workspace::bytes(g, grid);
    TileQueue queue(grid.tickets(), pool.threads());
    std::vector<int64_t> kept(size_t(pool.threads()), -1);  // the row of tiles whose packed rows a thread holds
    pool.run(grid.tickets(), [&](int64_t, int thread) {
        size_t skip = thread == 0 ? reserved : 0;
        Workspace workspace(static_cast<char*>(pool.scratch(thread, skip + bytes)) + skip, g, grid);
        int64_t tile = queue.take(thread), row = tile / grid.col_tiles;
        TileTask(g, grid, tile, workspace).run(kept[size_t(thread)] == row);
        if (keeps_rows(g, grid, kLimits)) kept[size_t(thread)] = row;
    });
}

}  // namespace stepd::STEPD_ISA
