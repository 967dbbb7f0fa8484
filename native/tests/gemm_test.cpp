#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "tests/isa/gemm_entry.h"
#include "tests/kernel_harness.h"

namespace stepd::test {
namespace {

void call_gemm(const std::string& isa, const GemmCall& call, int threads) {
    Pool& pool = pool_of(threads);
    if (isa == "avx2") return stepd_test_gemm_avx2(call, pool);
    if (isa == "avx512") return stepd_test_gemm_avx512(call, pool);
    if (isa == "amx") return stepd_test_gemm_amx(call, pool);
    return stepd_test_gemm_amx_emulated(call, pool);
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double gelu_derivative(double x) {
    double t = std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

struct Case {
    int64_t m, n, k;
    bool a_transposed = false, b_transposed = true;
    DType a = DType::f32, b = DType::f32, c = DType::f32;
    bool bias = false, pre = false, gelu = false, gelu_grad = false, gate = false, add = false;
    int64_t padding = 0;  // unused elements between rows

    std::string name() const {
        std::string s = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
        s += a_transposed ? " T" : " N";
        s += b_transposed ? "T" : "N";
        for (DType t : {a, b, c}) s += std::string(" ") + name_of(t);
        for (auto [flag, text] : {std::pair{bias, " bias"},
                                  {pre, " pre"},
                                  {gelu, " gelu"},
                                  {gelu_grad, " gelu_grad"},
                                  {gate, " gate"},
                                  {add, " add"}})
            if (flag) s += text;
        return s + " padding " + std::to_string(padding);
    }
};

// The operands of a case and its result in float64.
class Problem {
public:
    explicit Problem(const Case& c)
        : case_(c),
          a_(operand(c.a_transposed ? c.k : c.m, c.a_transposed ? c.m : c.k, c.a, 1)),
          b_(operand(c.b_transposed ? c.n : c.k, c.b_transposed ? c.k : c.n, c.b, 2)),
          bias_(random_tensor({c.n}, c.b, 3)),
          gelu_grad_(operand(c.m, c.n, c.c, 4)),
          gate_(operand((c.m + kRowsPerGate - 1) / kRowsPerGate, c.n, DType::f32, 5)),
          add_(operand(c.m, c.n, c.a, 6)) {
        solve();
    }

    struct Result {
        HostTensor c, pre;
    };
    Result run(const std::string& isa, int threads) const {
        const Case& p = case_;
        Result r{HostTensor({p.m, p.n + p.padding}, p.c), HostTensor({p.m, p.n + p.padding}, p.a)};
        GemmCall g;
        g.m = p.m, g.n = p.n, g.k = p.k;
        g.a = view(a_), g.a_transposed = p.a_transposed;
        g.b = view(b_), g.b_transposed = p.b_transposed;
        g.c = view(r.c);
        Tensor bias = bias_.view();
        if (p.bias) g.bias = &bias;
        if (p.pre) g.pre = view(r.pre);
        g.gelu = p.gelu;
        if (p.gelu_grad) g.gelu_grad = view(gelu_grad_);
        if (p.gate) g.gate = view(gate_), g.rows_per_gate = kRowsPerGate;
        if (p.add) g.add = view(add_);
        call_gemm(isa, g, threads);
        return r;
    }

    void check(const std::string& isa) const {
        Result one = run(isa, 1);
        std::string what = isa + " " + case_.name();
        check_matrix(one.c, want_, what);
        if (case_.pre) check_matrix(one.pre, want_pre_, what + ", pre");
        for (int threads : {2, 5}) {
            Result many = run(isa, threads);
            EXPECT_TRUE(one.c.same_bits(many.c)) << what << " differs under " << threads << " threads";
            EXPECT_TRUE(one.pre.same_bits(many.pre)) << what << " pre differs under " << threads << " threads";
        }
    }

private:
    static constexpr int64_t kRowsPerGate = 3;

    HostTensor operand(int64_t rows, int64_t cols, DType dtype, uint32_t seed) const {
        return random_tensor({rows, cols + case_.padding}, dtype, seed);
    }
    static MatrixView view(const HostTensor& t) { return {t.view().data, t.dtype(), t.shape()[1]}; }
    static double at(const HostTensor& t, int64_t i, int64_t j) { return t.at(size_t(i * t.shape()[1] + j)); }

    void solve() {
        const Case& p = case_;
        std::vector<double> a(size_t(p.m * p.k)), row(static_cast<size_t>(p.n));
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t k = 0; k < p.k; k++) a[size_t(i * p.k + k)] = p.a_transposed ? at(a_, k, i) : at(a_, i, k);
        std::vector<double> b(size_t(p.k * p.n));
        for (int64_t k = 0; k < p.k; k++)
            for (int64_t j = 0; j < p.n; j++) b[size_t(k * p.n + j)] = p.b_transposed ? at(b_, j, k) : at(b_, k, j);
        for (int64_t i = 0; i < p.m; i++) {
            std::fill(row.begin(), row.end(), 0.0);
            for (int64_t k = 0; k < p.k; k++)
                for (int64_t j = 0; j < p.n; j++) row[size_t(j)] += a[size_t(i * p.k + k)] * b[size_t(k * p.n + j)];
            for (int64_t j = 0; j < p.n; j++) finish(i, j, row[size_t(j)]);
        }
    }

    void finish(int64_t i, int64_t j, double v) {
        if (case_.bias) v += bias_.at(size_t(j));
        want_pre_.push_back(v);
        if (case_.gelu) v = gelu(case_.c == DType::bf16 ? to_float(to_bf16(float(v))) : v);
        if (case_.gelu_grad) v *= gelu_derivative(at(gelu_grad_, i, j));
        if (case_.gate) v *= at(gate_, i / kRowsPerGate, j);
        if (case_.add) v += at(add_, i, j);
        want_.push_back(v);
    }

    // Compares the m x n part, and expects the padding untouched.
    void check_matrix(const HostTensor& got, const std::vector<double>& want, const std::string& what) const {
        std::vector<double> values;
        for (int64_t i = 0; i < case_.m; i++)
            for (int64_t j = 0; j < case_.n + case_.padding; j++) {
                if (j < case_.n)
                    values.push_back(at(got, i, j));
                else
                    EXPECT_TRUE(std::isnan(at(got, i, j))) << what << " wrote between rows";
            }
        EXPECT_LE(relative_l2(values, want), tolerance(got.dtype())) << what;
        EXPECT_TRUE(got.guard_intact()) << what << " wrote past the end";
    }

    Case case_;
    HostTensor a_, b_, bias_, gelu_grad_, gate_, add_;
    std::vector<double> want_, want_pre_;
};

class GemmTest : public testing::TestWithParam<std::string> {};

const int64_t kShapes[][3] = {{1, 1, 1},     {1, 17, 5},     {2, 3, 7},     {3, 64, 130},   {4, 96, 64},
                              {5, 33, 31},   {13, 101, 257}, {16, 48, 16},  {17, 1, 193},   {17, 97, 1},
                              {29, 31, 37},  {32, 32, 32},   {33, 65, 64},  {64, 48, 192},  {65, 49, 96},
                              {97, 113, 83}, {128, 96, 40},  {20, 384, 64}, {131, 257, 389}};

TEST_P(GemmTest, EveryShapeAndTranspose) {
    for (auto [m, n, k] : kShapes)
        for (bool at : {false, true})
            for (bool bt : {false, true})
                for (DType t : {DType::f32, DType::bf16})
                    Problem({.m = m, .n = n, .k = k, .a_transposed = at, .b_transposed = bt, .a = t, .b = t})
                        .check(GetParam());
}

TEST_P(GemmTest, EveryMixOfTypes) {
    for (int64_t m : {7, 50})
        for (DType a : {DType::f32, DType::bf16})
            for (DType b : {DType::f32, DType::bf16})
                for (DType c : {DType::f32, DType::bf16})
                    for (bool bt : {false, true})
                        Problem({.m = m, .n = 75, .k = 61, .b_transposed = bt, .a = a, .b = b, .c = c, .bias = true})
                            .check(GetParam());
}

TEST_P(GemmTest, EveryEpilogue) {
    for (int64_t m : {5, 35})
        for (DType t : {DType::f32, DType::bf16})
            for (int bits = 0; bits < 64; bits++)
                Problem({.m = m,
                         .n = 53,
                         .k = 41,
                         .a = t,
                         .b = t,
                         .c = t,
                         .bias = bool(bits & 1),
                         .pre = bool(bits & 2),
                         .gelu = bool(bits & 4),
                         .gelu_grad = bool(bits & 8),
                         .gate = bool(bits & 16),
                         .add = bool(bits & 32)})
                    .check(GetParam());
}

TEST_P(GemmTest, EpiloguesAfterSeveralBlocksAlongK) {
    for (DType t : {DType::f32, DType::bf16})
        for (int64_t k : {700, 1300, 2500})
            Problem({.m = 75,
                     .n = 101,
                     .k = k,
                     .a = t,
                     .b = t,
                     .c = t,
                     .bias = true,
                     .pre = true,
                     .gelu = true,
                     .gate = true,
                     .add = true})
                .check(GetParam());
}

TEST_P(GemmTest, RowsFurtherApartThanTheirLength) {
    for (int64_t m : {6, 47})
        for (bool at : {false, true})
            for (bool bt : {false, true})
                for (DType t : {DType::f32, DType::bf16})
                    Problem({.m = m,
                             .n = 70,
                             .k = 90,
                             .a_transposed = at,
                             .b_transposed = bt,
                             .a = t,
                             .b = t,
                             .c = t,
                             .pre = true,
                             .gelu_grad = true,
                             .gate = true,
                             .add = true,
                             .padding = 5})
                        .check(GetParam());
}

TEST_P(GemmTest, LargeShapes) {
    for (DType t : {DType::f32, DType::bf16}) {
        Problem({.m = 257, .n = 390, .k = 1153, .a = t, .b = t}).check(GetParam());
        Problem({.m = 390, .n = 211, .k = 1024, .a_transposed = true, .b_transposed = false, .a = t, .b = t})
            .check(GetParam());
        Problem({.m = 512, .n = 388, .k = 390, .b_transposed = false, .a = t, .b = t, .c = t}).check(GetParam());
    }
}

// What a residual connection does: the sum replaces its own addend.
TEST_P(GemmTest, AddMayBeTheResult) {
    HostTensor a = random_tensor({40, 30}, DType::f32, 1), b = random_tensor({50, 30}, DType::f32, 2);
    HostTensor add = random_tensor({40, 50}, DType::f32, 3), apart({40, 50}, DType::f32), together = add;
    auto view = [](const HostTensor& t) { return MatrixView{t.view().data, t.dtype(), t.shape()[1]}; };
    GemmCall g;
    g.m = 40, g.n = 50, g.k = 30, g.b_transposed = true;
    g.a = view(a), g.b = view(b), g.c = view(apart), g.add = view(add);
    call_gemm(GetParam(), g, 2);
    g.c = g.add = view(together);
    call_gemm(GetParam(), g, 2);
    EXPECT_TRUE(apart.same_bits(together));
}

INSTANTIATE_TEST_SUITE_P(Isa, GemmTest, testing::ValuesIn(test_isas()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace stepd::test
