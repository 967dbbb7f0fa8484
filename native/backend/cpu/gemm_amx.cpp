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
constexpr int64_t kSlabBlocks = 3;                     // blocks along k for which the A rows of a ticket fit in L2
constexpr TileLimits kLimits{256, 576, kStepRows, kStepRows, 8.0, 8.0, 0};

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

// The columns of C, in panels, whose partial sums a ticket keeps at once: all of them when k has several slabs, else
// the current and the next panel, because the last block of a panel settles after the next panel has begun.
int64_t kept_columns(const Packed& packed, const TileGrid& grid) {
    return packed.steps > kSlabBlocks * packed.block_steps() ? grid.tile_cols / kStepRows : 2;
}

// Partial sums of the kept columns, and two more blocks that receive the tiles, in turn.
size_t sum_bytes(const Packed& packed, const TileGrid& grid) {
    int64_t blocks = kept_columns(packed, grid) * (grid.tile_rows / kStepRows) + 2;
    return size_t(blocks * kBlockSize) * sizeof(float);
}

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

// One tile of C and the memory to compute it in.
class TileTask {
public:
    TileTask(const Gemm& g, const TileGrid& grid, int64_t ticket, const Packed& packed, const bf16* a, const bf16* b,
             float* memory)
        : g_(g),
          packed_(packed),
          a_(a),
          b_(b),
          first_row_(ticket % grid.row_tiles * grid.tile_rows),
          end_row_(std::min(g.m, first_row_ + grid.tile_rows)),
          first_col_(ticket / grid.row_tiles * grid.tile_cols),
          end_col_(std::min(g.n, first_col_ + grid.tile_cols)),
          row_panels_(grid.tile_rows / kStepRows),
          kept_columns_(kept_columns(packed, grid)),
          fresh_{memory, memory + kBlockSize},
          sums_(memory + 2 * kBlockSize) {}

    // Slab by slab along k, so that the rows of A stay in the L2 cache; in a slab one B panel at a time stays in L1.
    void run() {
        TileScope tiles;
        int64_t slab = kSlabBlocks * packed_.block_steps();
        for (int64_t first = 0; first < packed_.steps; first += slab)
            for (int64_t col = first_col_; col < end_col_; col += kStepRows)
                for (int64_t step = first; step < std::min(packed_.steps, first + slab); step += packed_.block_steps())
                    multiply_column(col, step);
        for (int r = 0; r < kStepRows; r++) settle_row(g_, pending_, r);
    }

private:
    // The blocks of one column panel over one block along k.
    void multiply_column(int64_t col, int64_t step) {
        int64_t steps = std::min(packed_.block_steps(), packed_.steps - step);
        bool first = step == 0, last = step + steps == packed_.steps;
        const bf16* b = b_ + col / kStepRows * packed_.panel_size() + step * kStepSize;
        int64_t kept = (col - first_col_) / kStepRows % kept_columns_ * row_panels_;
        for (int64_t row = first_row_; row < end_row_; row += kStepRows) {
            float* sums = sums_ + (kept + (row - first_row_) / kStepRows) * kBlockSize;
            float* to = first && !last ? sums : fresh_[turn_ ^= 1];
            const bf16* a = a_ + row / kStepRows * packed_.panel_size() + step * kStepSize;
            multiply_block(g_, a, b, steps, to, pending_);
            pending_.action = last ? Pending::epilogue : first ? Pending::none : Pending::accumulate;
            pending_.fresh = to;
            pending_.sums = first ? nullptr : sums;
            pending_.row = row, pending_.rows = std::min<int64_t>(kStepRows, end_row_ - row);
            pending_.col = col, pending_.cols = std::min<int64_t>(kStepRows, end_col_ - col);
        }
    }

    const Gemm& g_;
    const Packed& packed_;
    const bf16 *a_, *b_;  // packed
    int64_t first_row_, end_row_, first_col_, end_col_;
    int64_t row_panels_, kept_columns_;
    float* fresh_[2];
    float* sums_;
    int turn_ = 0;
    Pending pending_;
};

void pack_panel(const Matrix& m, bool by_row, bool pairs, int64_t row, int64_t rows, int64_t depth, bf16* dst) {
    auto* src = static_cast<const bf16*>(m.data) + row * (by_row ? m.ld : 1);
    pack_tile_panel(src, m.ld, by_row, pairs, std::min(kStepRows, rows - row), depth, dst);
}

}  // namespace

bool amx_applies(const Gemm& g) { return g.a.dtype == DType::bf16 && g.b.dtype == DType::bf16; }

size_t amx_scratch_bytes(const Gemm& g, int threads) {
    Packed packed(g);
    return packed.bytes() + sum_bytes(packed, choose_grid(g, threads, kLimits));
}

void gemm_amx(const Gemm& g, Pool& pool, size_t reserved) {
    Packed packed(g);
    TileGrid grid = choose_grid(g, pool.threads(), kLimits);
    size_t own = sum_bytes(packed, grid);
    // Thread 0 keeps, after what its caller reserved, the packed operands of all threads and then its own sums.
    size_t shared = reserved + packed.bytes();
    auto* a = reinterpret_cast<bf16*>(static_cast<char*>(pool.scratch(0, shared + own)) + reserved);
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
        char* memory = static_cast<char*>(pool.scratch(thread, skip + own)) + skip;
        TileTask(g, grid, ticket, packed, a, b, reinterpret_cast<float*>(memory)).run();
    });
}

}  // namespace stepd::STEPD_ISA

#endif
