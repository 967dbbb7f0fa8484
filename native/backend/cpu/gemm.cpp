#include "backend/cpu/gemm.h"

#include "backend/cpu/gemm_epilogue.h"
#include "backend/cpu/gemm_internal.h"
#include "base/error.h"

namespace stepd::STEPD_ISA {
namespace {

// sums[j] = sum over k of A(j, k) for the rows [row, row+count) of a transposed A, count <= W. Values are summed in
// runs of 64, and the runs in order, which keeps the rounding error of long rows small.
void sum_rows(const Gemm& g, int64_t row, int count, float* sums) {
    constexpr int64_t kRun = 64;
    Vec total = set1(0.f);
    for (int64_t begin = 0; begin < g.k; begin += kRun) {
        Vec run = set1(0.f);
        for (int64_t k = begin; k < std::min(g.k, begin + kRun); k++) run += load_elements(g.a, k, row, count);
        total += run;
    }
    store_part(sums, total, count);
}

// g.a_row_sums in a pass of its own.
void sum_all_rows(const Gemm& g, Pool& pool) {
    constexpr int64_t kChunk = 64;  // whole cache lines of either type
    pool.run(divide_up(g.m, kChunk), [&](int64_t ticket, int) {
        int64_t end = std::min(g.m, (ticket + 1) * kChunk);
        for (int64_t row = ticket * kChunk; row < end; row += W)
            sum_rows(g, row, int(std::min<int64_t>(W, end - row)), g.a_row_sums + row);
    });
}

// Multiply-adds that take as long as the work of one thread.
double thread_time(const Gemm& g, const TileGrid& grid, int threads, const TileLimits& limits) {
    int64_t tiles = divide_up(grid.tickets(), threads);
    int64_t packed_rows = (keeps_rows(g, grid, limits) ? divide_up(tiles, grid.col_tiles) : tiles) * grid.tile_rows;
    return double(tiles * grid.tile_rows * grid.tile_cols) + limits.flop_per_packed_row * double(packed_rows) +
           limits.flop_per_packed_col * double(tiles * grid.tile_cols);
}

}  // namespace

TileGrid choose_grid(const Gemm& g, int threads, const TileLimits& limits) {
    constexpr double kTinyWork = 1 << 18;  // multiply-adds that take less time than waking a thread
    if (double(g.m) * double(g.n) * double(g.k) < kTinyWork) threads = 1;
    // Many tickets a thread, so that a descheduled thread holds up little.
    const int64_t wanted = threads == 1 ? 1 : std::max<int64_t>(8, 4 * threads);
    const int64_t first_rows = divide_up(g.m, limits.max_rows), first_cols = divide_up(g.n, limits.max_cols);
    TileGrid best;
    double best_time = 0;
    for (int64_t r = first_rows; r <= 8 * first_rows; r++)
        for (int64_t c = first_cols; c <= 8 * first_cols; c++) {
            TileGrid grid;
            grid.tile_rows = round_up(divide_up(g.m, r), limits.row_unit);
            grid.tile_cols = round_up(divide_up(g.n, c), limits.col_unit);
            grid.row_tiles = divide_up(g.m, grid.tile_rows);
            grid.col_tiles = divide_up(g.n, grid.tile_cols);
            double time = thread_time(g, grid, threads, limits);
            bool enough = grid.tickets() >= wanted, best_enough = best.tickets() >= wanted;
            bool better = enough == best_enough ? time < best_time : enough;
            if (best.tickets() == 0 || better) best = grid, best_time = time;
            if (grid.tickets() > 4 * wanted) break;  // more columns only add packing
        }
    return best;
}

size_t gemm_scratch_bytes(const Gemm& g, int threads) {
    if (few_rows_applies(g)) return few_rows_scratch_bytes(g);
#ifdef STEPD_ISA_amx
    if (amx_applies(g)) return amx_scratch_bytes(g, threads);
#endif
    return fma_scratch_bytes(g, threads);
}

void gemm_reserving(const Gemm& g, Pool& pool, size_t reserved) {
    STEPD_CHECK(g.m >= 0 && g.n >= 0 && g.k > 0, "gemm of ", g.m, " x ", g.n, " x ", g.k);
    if (g.m == 0 || g.n == 0) return;
    STEPD_CHECK(!g.a_row_sums || g.a_transposed, "row sums of a matrix product need a transposed A");
    if (few_rows_applies(g)) gemm_few_rows(g, pool, reserved);
#ifdef STEPD_ISA_amx
    else if (amx_applies(g))
        gemm_amx(g, pool, reserved);
#endif
    else
        return gemm_fma(g, pool, reserved);  // sums the rows while it packs them
    if (g.a_row_sums) sum_all_rows(g, pool);
}

void gemm(const Gemm& g, Pool& pool) { gemm_reserving(g, pool, 0); }

}  // namespace stepd::STEPD_ISA
