// bf16 matrix product on AMX tiles, f32 sums. Both operands are packed first, all threads together; then each ticket
// computes one tile of C.
//
// A block of C is 32x32: four tiles of sums, two of A and two of B. What the measurements asked for:
//  - every block along k starts from zeroed tiles, and is added to the partial sums with vector instructions, because
//    loading and storing sums as tiles costs up to a third;
//  - that addition, or the epilogue, of one block runs between the tile instructions of the next;
//  - A is loaded with the stream hint, so that it leaves the B panel in the L1 cache.
#ifdef STEPD_ISA_amx

#include "backend/cpu/gemm_epilogue.h"
#include "backend/cpu/gemm_internal.h"
#include "backend/cpu/tile.h"
#include "backend/cpu/tile_pack.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kBlockSize = kStepRows * kStepRows;  // floats of a 32x32 block of C, as four 16x16 tiles
constexpr int64_t kMaxSteps = 18;                      // k steps of a block: a B panel of 36 KiB
constexpr TileLimits kLimits{256, 576, kStepRows, kStepRows, 0.0};

// Geometry of the packed operands.
struct Packed {
    int64_t steps, row_panels, col_panels;
    explicit Packed(const Gemm& g)
        : steps(divide_up(g.k, kStepDepth)),
          row_panels(divide_up(g.m, kStepRows)),
          col_panels(divide_up(g.n, kStepRows)) {}
    int64_t panel_size() const { return steps * kStepSize; }
    size_t bytes() const { return size_t((row_panels + col_panels) * panel_size()) * sizeof(bf16); }
    // k steps of a block; all blocks nearly alike.
    int64_t block_steps() const { return divide_up(steps, divide_up(steps, kMaxSteps)); }
};

// Partial sums of a ticket: with several blocks along k, one block of C for each row panel of the current and the next
// column panel; and two more that receive the tiles, in turn.
int64_t sum_blocks(const TileGrid& grid) { return 2 * grid.tile_rows / kStepRows + 2; }

// A block whose tiles were stored and which still has to be added up or finished.
struct Pending {
    enum Action { none, accumulate, epilogue } action = none;
    const float* fresh = nullptr;  // this block along k
    float* sums = nullptr;         // the blocks before; null when there were none
    int64_t row = 0, col = 0;      // of C
    int64_t rows = 0, cols = 0;    // inside C, at most 32 each
};

inline __attribute__((always_inline)) void settle_row(const Gemm& g, const Pending& p, int r) {
    if (p.action == Pending::none || r >= p.rows) return;
    int64_t offset = (r / kTileRows) * 2 * kTileRows * kTileRows + (r % kTileRows) * kTileRows;
    for (int half = 0; half < 2; half++, offset += kTileRows * kTileRows) {
        Vec v = load(p.fresh + offset);
        if (p.sums) v = load(p.sums + offset) + v;
        if (p.action == Pending::accumulate) {
            store(p.sums + offset, v);
        } else if (int count = int(std::min<int64_t>(W, p.cols - half * W)); count > 0) {
            finish(g, p.row + r, p.col + half * W, count, v);
        }
    }
}

// fresh = A panel * B panel over `steps` steps, while the pending block is settled row by row.
void multiply_block(const Gemm& g, const bf16* a, const bf16* b, int64_t steps, float* fresh, const Pending& pending) {
    tile_fence();
    STEPD_TILE_ZERO(0);
    STEPD_TILE_ZERO(1);
    STEPD_TILE_ZERO(2);
    STEPD_TILE_ZERO(3);
    int r = 0;
    for (int64_t s = 0; s < steps; s++, a += kStepSize, b += kStepSize) {
        STEPD_TILE_LOAD(6, b, kTileBytes);
        STEPD_TILE_LOAD_STREAM(4, a, kTileBytes);
        STEPD_TILE_DOT(0, 4, 6);
        STEPD_TILE_LOAD(7, b + kTileSize, kTileBytes);
        STEPD_TILE_DOT(1, 4, 7);
        if (r < kStepRows) settle_row(g, pending, r);
        STEPD_TILE_LOAD_STREAM(5, a + kTileSize, kTileBytes);
        STEPD_TILE_DOT(2, 5, 6);
        if (r < kStepRows) settle_row(g, pending, r + 1);
        STEPD_TILE_DOT(3, 5, 7);
        r += 2;
    }
    for (; r < kStepRows; r++) settle_row(g, pending, r);
    constexpr int64_t kTileFloats = kTileRows * kTileRows;
    STEPD_TILE_STORE(0, fresh, kTileBytes);
    STEPD_TILE_STORE(1, fresh + kTileFloats, kTileBytes);
    STEPD_TILE_STORE(2, fresh + 2 * kTileFloats, kTileBytes);
    STEPD_TILE_STORE(3, fresh + 3 * kTileFloats, kTileBytes);
    tile_fence();
}

// The rows of A of a ticket stay in the L2 cache, one B panel at a time in L1.
void compute_tile(const Gemm& g, const TileGrid& grid, int64_t ticket, const Packed& packed, const bf16* a,
                  const bf16* b, float* memory) {
    TileScope tiles;
    int64_t first_row = ticket % grid.row_tiles * grid.tile_rows, first_col = ticket / grid.row_tiles * grid.tile_cols;
    int64_t end_row = std::min(g.m, first_row + grid.tile_rows), end_col = std::min(g.n, first_col + grid.tile_cols);
    int64_t panels = grid.tile_rows / kStepRows;
    float* fresh[2] = {memory + 2 * panels * kBlockSize, memory + (2 * panels + 1) * kBlockSize};
    Pending pending;
    int turn = 0;
    for (int64_t col = first_col; col < end_col; col += kStepRows) {
        // Sums alternate between two halves: the last block of a column settles after the next column has begun.
        float* column_sums = memory + ((col - first_col) / kStepRows % 2) * panels * kBlockSize;
        for (int64_t step = 0; step < packed.steps; step += packed.block_steps()) {
            int64_t steps = std::min(packed.block_steps(), packed.steps - step);
            bool last = step + steps == packed.steps;
            const bf16* b_panel = b + col / kStepRows * packed.panel_size() + step * kStepSize;
            for (int64_t row = first_row; row < end_row; row += kStepRows) {
                float* sums = column_sums + (row - first_row) / kStepRows * kBlockSize;
                float* to = step == 0 && !last ? sums : fresh[turn ^= 1];
                multiply_block(g, a + row / kStepRows * packed.panel_size() + step * kStepSize, b_panel, steps, to,
                               pending);
                pending.action = last ? Pending::epilogue : step == 0 ? Pending::none : Pending::accumulate;
                pending.fresh = to;
                pending.sums = step == 0 ? nullptr : sums;
                pending.row = row, pending.rows = std::min<int64_t>(kStepRows, end_row - row);
                pending.col = col, pending.cols = std::min<int64_t>(kStepRows, end_col - col);
            }
        }
    }
    for (int r = 0; r < kStepRows; r++) settle_row(g, pending, r);
}

void pack_panel(const Matrix& m, bool by_row, bool pairs, int64_t row, int64_t rows, int64_t depth, bf16* dst) {
    auto* src = static_cast<const bf16*>(m.data) + row * (by_row ? m.ld : 1);
    pack_tile_panel(src, m.ld, by_row, pairs, std::min(kStepRows, rows - row), depth, dst);
}

}  // namespace

bool amx_applies(const Gemm& g) { return g.a.dtype == DType::bf16 && g.b.dtype == DType::bf16; }

size_t amx_scratch_bytes(const Gemm& g, int threads) {
    TileGrid grid = choose_grid(g, threads, kLimits);
    return Packed(g).bytes() + size_t(sum_blocks(grid) * kBlockSize) * sizeof(float);
}

void gemm_amx(const Gemm& g, Pool& pool, size_t reserved) {
    Packed packed(g);
    TileGrid grid = choose_grid(g, pool.threads(), kLimits);
    size_t sum_bytes = size_t(sum_blocks(grid) * kBlockSize) * sizeof(float);
    // Thread 0 keeps, after what its caller reserved, the packed operands of all threads and then its own sums.
    size_t shared = reserved + packed.bytes();
    auto* a = reinterpret_cast<bf16*>(static_cast<char*>(pool.scratch(0, shared + sum_bytes)) + reserved);
    bf16* b = a + packed.row_panels * packed.panel_size();
    pool.run(packed.row_panels + packed.col_panels, [&](int64_t p, int) {
        if (p < packed.row_panels)
            pack_panel(g.a, !g.a_transposed, false, p * kStepRows, g.m, g.k, a + p * packed.panel_size());
        else
            pack_panel(g.b, g.b_transposed, true, (p - packed.row_panels) * kStepRows, g.n, g.k,
                       a + p * packed.panel_size());
    });
    pool.run(grid.tickets(), [&](int64_t ticket, int thread) {
        size_t skip = thread == 0 ? shared : 0;
        char* memory = static_cast<char*>(pool.scratch(thread, skip + sum_bytes)) + skip;
        compute_tile(g, grid, ticket, packed, a, b, reinterpret_cast<float*>(memory));
    });
}

}  // namespace stepd::STEPD_ISA

#endif
