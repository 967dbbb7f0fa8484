#include "backend/cpu/gemm.h"

#include "backend/cpu/gemm_internal.h"
#include "base/error.h"

namespace stepd::STEPD_ISA {

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
            double ticket = double(grid.tile_rows * grid.tile_cols) +
                            limits.flop_per_packed_value * double(grid.tile_rows + grid.tile_cols);
            double time = double(divide_up(grid.tickets(), threads)) * ticket;
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
    if (few_rows_applies(g)) return gemm_few_rows(g, pool, reserved);
#ifdef STEPD_ISA_amx
    if (amx_applies(g)) return gemm_amx(g, pool, reserved);
#endif
    gemm_fma(g, pool, reserved);
}

void gemm(const Gemm& g, Pool& pool) { gemm_reserving(g, pool, 0); }

}  // namespace stepd::STEPD_ISA
