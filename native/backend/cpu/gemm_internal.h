// Parts of gemm.h that only the matrix product itself and kernels built on it use.
#pragma once

#include <algorithm>

#include "backend/cpu/gemm.h"

namespace stepd::STEPD_ISA {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t unit) { return divide_up(a, unit) * unit; }

// The grid of C tiles that becomes the tickets of a product. It never changes a result: every element of C is summed in
// an order that depends on k alone.
struct TileGrid {
    int64_t tile_rows = 0, tile_cols = 0;
    int64_t row_tiles = 0, col_tiles = 0;
    int64_t tickets() const { return row_tiles * col_tiles; }
};

struct TileLimits {
    int64_t max_rows, max_cols;  // what keeps the operands of a tile in the second-level cache
    int64_t row_unit, col_unit;  // rows and columns of the micro-kernel
    // Multiply-adds for each k that take as long as packing an element of a row of A, or of a column of B.
    double flop_per_packed_row, flop_per_packed_col;
    int64_t kept_values;  // see keeps_rows()
};

// Whether a thread keeps the packed rows of a tile over all of k for the tiles beside it.
inline bool keeps_rows(const Gemm& g, const TileGrid& grid, const TileLimits& limits) {
    return grid.tile_rows * g.k <= limits.kept_values;
}

// The grid with the least estimated time on `threads` threads: whole rounds of tickets, each with its packing.
TileGrid choose_grid(const Gemm& g, int threads, const TileLimits& limits);

// As gemm(), but leaves the first `reserved` bytes of thread 0's scratch alone. The caller must have asked for
// reserved + gemm_scratch_bytes() before it filled them. `reserved` is a multiple of 64.
void gemm_reserving(const Gemm& g, Pool& pool, size_t reserved);
size_t gemm_scratch_bytes(const Gemm& g, int threads);  // need of thread 0, the largest

// The paths that gemm() chooses from.
bool few_rows_applies(const Gemm& g);  // as many rows as a batch has samples: bound by reading B once
void gemm_few_rows(const Gemm& g, Pool& pool, size_t reserved);
size_t few_rows_scratch_bytes(const Gemm& g);

void gemm_fma(const Gemm& g, Pool& pool, size_t reserved);
size_t fma_scratch_bytes(const Gemm& g, int threads);

#ifdef STEPD_ISA_amx
bool amx_applies(const Gemm& g);  // both operands bf16
void gemm_amx(const Gemm& g, Pool& pool, size_t reserved);
size_t amx_scratch_bytes(const Gemm& g, int threads);
#endif

}  // namespace stepd::STEPD_ISA
