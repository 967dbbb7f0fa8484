// Products with as few rows as a batch has samples (modulation, timestep and pooled-text layers). Time goes into
// reading B once, so B is used where it lies, without packing.
#include "backend/cpu/gemm_epilogue.h"
#include "backend/cpu/gemm_internal.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kMaxRows = 16;
constexpr int64_t kTicketWork = 1 << 17;  // multiply-adds and elements of B worth waking a thread for
constexpr int kGroup = 4;                 // rows of A, and rows of B, that share a pass
constexpr int64_t kMaxChunk = 512;        // columns of C in one ticket: m x 512 sums stay in L1

int64_t chunk_of(const Gemm& g, int threads) {
    int64_t by_work = divide_up(kTicketWork, g.k * (1 + g.m / 4));
    int64_t by_threads = divide_up(g.n, 4 * int64_t(threads));
    return std::clamp(round_up(std::max(by_work, by_threads), W), int64_t(W), kMaxChunk);
}

float element(const Matrix& m, int64_t i) {
    return m.dtype == DType::f32 ? static_cast<const float*>(m.data)[i] : to_float(static_cast<const bf16*>(m.data)[i]);
}

// sums[i*kMaxChunk + j] = dot(A row i, B row j) for R rows of A and C rows of B.
template <int R, int C, class T>
void dot_rows(const float* a, const T* b, int64_t ldb, int64_t k, float* sums) {
    Vec acc[R][C];
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++) acc[i][j] = set1(0.f);
    auto step = [&](auto fetch_a, auto fetch_b) {
        Vec bv[C];
        for (int j = 0; j < C; j++) bv[j] = fetch_b(j);
        for (int i = 0; i < R; i++) {
            Vec av = fetch_a(i);
            for (int j = 0; j < C; j++) acc[i][j] = fma(av, bv[j], acc[i][j]);
        }
    };
    int64_t p = 0;
    for (; p + W <= k; p += W)
        step([&](int i) { return load(a + i * k + p); }, [&](int j) { return load(b + j * ldb + p); });
    if (int rest = int(k - p))
        step([&](int i) { return load_part(a + i * k + p, rest); },
             [&](int j) { return load_part(b + j * ldb + p, rest); });
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++) sums[i * kMaxChunk + j] = sum(acc[i][j]);
}

template <int C, class T>
void dot_rows(int64_t rows, const float* a, const T* b, int64_t ldb, int64_t k, float* sums) {
    switch (rows) {
        case 1:
            return dot_rows<1, C>(a, b, ldb, k, sums);
        case 2:
            return dot_rows<2, C>(a, b, ldb, k, sums);
        case 3:
            return dot_rows<3, C>(a, b, ldb, k, sums);
        default:
            return dot_rows<4, C>(a, b, ldb, k, sums);
    }
}

// B stored [n,k]: sums of columns [col, col+cols) as dot products.
template <class T>
void dot_chunk(const Gemm& g, const float* a, int64_t col, int64_t cols, float* sums) {
    const T* b = static_cast<const T*>(g.b.data) + col * g.b.ld;
    int64_t j = 0;
    auto group = [&]<int C>(std::integral_constant<int, C>) {
        for (int64_t i = 0; i < g.m; i += kGroup)
            dot_rows<C>(std::min<int64_t>(kGroup, g.m - i), a + i * g.k, b + j * g.b.ld, g.b.ld, g.k,
                        sums + i * kMaxChunk + j);
    };
    for (; j + kGroup <= cols; j += kGroup) group(std::integral_constant<int, kGroup>());
    for (; j < cols; j++) group(std::integral_constant<int, 1>());
}

// sums[i][0..cols) += sum over C rows k of B of A(i,k) B(k, ..), for R rows i of A.
template <int R, int C, class T>
void add_scaled_rows(const float* a, int64_t lda, const T* b, int64_t ldb, int64_t cols, float* sums) {
    Vec scale[R][C];
    for (int i = 0; i < R; i++)
        for (int k = 0; k < C; k++) scale[i][k] = set1(a[i * lda + k]);
    auto step = [&](int64_t j, auto fetch_b) {
        Vec bv[C];
        for (int k = 0; k < C; k++) bv[k] = fetch_b(b + k * ldb + j);
        for (int i = 0; i < R; i++) {
            Vec v = load(sums + i * kMaxChunk + j);
            for (int k = 0; k < C; k++) v = fma(scale[i][k], bv[k], v);
            store(sums + i * kMaxChunk + j, v);
        }
    };
    int64_t j = 0;
    for (; j + W <= cols; j += W) step(j, [](const T* p) { return load(p); });
    if (int rest = int(cols - j)) step(j, [&](const T* p) { return load_part(p, rest); });
}

template <int C, class T>
void add_scaled_rows(int64_t rows, const float* a, int64_t lda, const T* b, int64_t ldb, int64_t cols, float* sums) {
    switch (rows) {
        case 1:
            return add_scaled_rows<1, C>(a, lda, b, ldb, cols, sums);
        case 2:
            return add_scaled_rows<2, C>(a, lda, b, ldb, cols, sums);
        case 3:
            return add_scaled_rows<3, C>(a, lda, b, ldb, cols, sums);
        default:
            return add_scaled_rows<4, C>(a, lda, b, ldb, cols, sums);
    }
}

// B stored [k,n]: the same sums by whole rows of B.
template <class T>
void scaled_chunk(const Gemm& g, const float* a, int64_t col, int64_t cols, float* sums) {
    const T* b = static_cast<const T*>(g.b.data) + col;
    std::fill(sums, sums + g.m * kMaxChunk, 0.f);
    auto group = [&]<int C>(std::integral_constant<int, C>, int64_t k) {
        for (int64_t i = 0; i < g.m; i += kGroup)
            add_scaled_rows<C>(std::min<int64_t>(kGroup, g.m - i), a + i * g.k + k, g.k, b + k * g.b.ld, g.b.ld, cols,
                               sums + i * kMaxChunk);
    };
    int64_t k = 0;
    for (; k + kGroup <= g.k; k += kGroup) group(std::integral_constant<int, kGroup>(), k);
    for (; k < g.k; k++) group(std::integral_constant<int, 1>(), k);
}

}  // namespace

bool few_rows_applies(const Gemm& g) { return g.m <= kMaxRows; }

size_t few_rows_scratch_bytes(const Gemm& g) { return size_t(g.m * g.k) * sizeof(float); }

void gemm_few_rows(const Gemm& g, Pool& pool, size_t reserved) {
    auto* a =
        reinterpret_cast<float*>(static_cast<char*>(pool.scratch(0, reserved + few_rows_scratch_bytes(g))) + reserved);
    for (int64_t i = 0; i < g.m; i++)
        for (int64_t k = 0; k < g.k; k++)
            a[i * g.k + k] = element(g.a, g.a_transposed ? k * g.a.ld + i : i * g.a.ld + k);
    int64_t chunk = chunk_of(g, pool.threads());
    pool.run(divide_up(g.n, chunk), [&](int64_t ticket, int) {
        alignas(64) float sums[kMaxRows * kMaxChunk];
        int64_t col = ticket * chunk, cols = std::min(chunk, g.n - col);
        bool f32 = g.b.dtype == DType::f32;
        if (g.b_transposed)
            f32 ? dot_chunk<float>(g, a, col, cols, sums) : dot_chunk<bf16>(g, a, col, cols, sums);
        else
            f32 ? scaled_chunk<float>(g, a, col, cols, sums) : scaled_chunk<bf16>(g, a, col, cols, sums);
        finish_block(g, 0, col, g.m, cols, sums, kMaxChunk);
    });
}

}  // namespace stepd::STEPD_ISA
