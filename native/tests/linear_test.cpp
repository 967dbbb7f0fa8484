#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/kernel_harness.h"

namespace stepd::test {
namespace {

// c[m,n] = a[m,k] b[k,n] with free strides, in float64.
struct Strided {
    const HostTensor& t;
    int64_t row, col;
    double at(int64_t i, int64_t j) const { return t.at(size_t(i * row + j * col)); }
};
std::vector<double> product(int64_t m, int64_t n, int64_t k, Strided a, Strided b) {
    std::vector<double> c(size_t(m * n));
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < n; j++) c[size_t(i * n + j)] += a.at(i, p) * b.at(p, j);
    return c;
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

struct Layer {
    int64_t batch, tokens, in, out;
    std::string name() const {
        return std::to_string(batch) + "x" + std::to_string(tokens) + " tokens, " + std::to_string(in) + " to " +
               std::to_string(out);
    }
};
const Layer kLayers[] = {{1, 1, 1, 1},    {2, 1, 19, 37},   {4, 1, 256, 72},
                         {1, 23, 31, 29}, {2, 35, 72, 288}, {3, 64, 96, 24}};
const DType kTypes[] = {DType::f32, DType::bf16};

class LinearTest : public testing::TestWithParam<std::string> {};

TEST_P(LinearTest, Forward) {
    for (const Layer& l : kLayers)
        for (DType x_type : kTypes)
            for (DType w_type : kTypes)
                for (bool with_bias : {false, true}) {
                    int64_t rows = l.batch * l.tokens;
                    HostTensor x = random_tensor({l.batch, l.tokens, l.in}, x_type, 1);
                    HostTensor w = random_tensor({l.out, l.in}, w_type, 2), b = random_tensor({l.out}, w_type, 3);
                    auto want = product(rows, l.out, l.in, {x, l.in, 1}, {w, 1, l.in});
                    for (size_t i = 0; with_bias && i < want.size(); i++) want[i] += b.at(i % size_t(l.out));
                    auto got = run_kernel_all_threads(GetParam(), "linear", {&x, &w, with_bias ? &b : nullptr},
                                                      {{{l.batch, l.tokens, l.out}, x_type}});
                    expect_close(got[0], want, tolerance(x_type), l.name());
                }
}

TEST_P(LinearTest, ForwardWithGelu) {
    for (const Layer& l : kLayers)
        for (DType t : kTypes) {
            HostTensor x = random_tensor({l.batch, l.tokens, l.in}, t, 1);
            HostTensor w = random_tensor({l.out, l.in}, t, 2, 1 / std::sqrt(double(l.in))),
                       b = random_tensor({l.out}, t, 3);
            auto pre = product(l.batch * l.tokens, l.out, l.in, {x, l.in, 1}, {w, 1, l.in});
            for (size_t i = 0; i < pre.size(); i++) pre[i] += b.at(i % size_t(l.out));
            Shape shape{l.batch, l.tokens, l.out};
            auto got = run_kernel_all_threads(GetParam(), "linear_gelu", {&x, &w, &b}, {{shape, t}, {shape, t}});
            expect_close(got[1], pre, tolerance(t), l.name() + " pre");
            std::vector<double> y;
            for (double v : got[1].values()) y.push_back(gelu(v));
            expect_close(got[0], y, tolerance(t), l.name() + " y");
            auto again = run_kernel(GetParam(), "gelu", {&got[1]}, {{shape, t}});
            EXPECT_TRUE(got[0].same_bits(again[0])) << l.name() << ": pre alone gives the same y";
        }
}

TEST_P(LinearTest, ForwardWithGateAndResidual) {
    for (const Layer& l : kLayers)
        for (DType t : kTypes)
            for (DType gate_type : kTypes) {
                HostTensor x = random_tensor({l.batch, l.tokens, l.in}, t, 1), w = random_tensor({l.out, l.in}, t, 2);
                HostTensor gate = random_tensor({l.batch, l.out}, gate_type, 4);
                HostTensor residual = random_tensor({l.batch, l.tokens, l.out}, t, 5);
                auto y = product(l.batch * l.tokens, l.out, l.in, {x, l.in, 1}, {w, 1, l.in}), want = y;
                for (size_t i = 0; i < y.size(); i++) {
                    size_t sample = i / size_t(l.tokens * l.out);
                    want[i] = residual.at(i) + gate.at(sample * size_t(l.out) + i % size_t(l.out)) * y[i];
                }
                Shape shape{l.batch, l.tokens, l.out};
                auto got = run_kernel_all_threads(GetParam(), "linear_gate_residual",
                                                  {&x, &w, nullptr, &gate, &residual}, {{shape, t}, {shape, t}});
                expect_close(got[0], want, tolerance(t), l.name() + " out");
                expect_close(got[1], y, tolerance(t), l.name() + " y");
                for (size_t i = 0; i < y.size(); i++) want[i] = residual.at(i) + y[i];
                got = run_kernel_all_threads(GetParam(), "linear_gate_residual", {&x, &w, nullptr, nullptr, &residual},
                                             {{shape, t}, {shape, t}});
                expect_close(got[0], want, tolerance(t), l.name() + " without gate");
            }
}

TEST_P(LinearTest, InputGradient) {
    for (const Layer& l : kLayers)
        for (DType t : kTypes)
            for (bool with_add : {false, true}) {
                HostTensor dy = random_tensor({l.batch, l.tokens, l.out}, t, 1), w = random_tensor({l.out, l.in}, t, 2);
                HostTensor add = random_tensor({l.batch, l.tokens, l.in}, DType::f32, 3);
                auto want = product(l.batch * l.tokens, l.in, l.out, {dy, l.out, 1}, {w, l.in, 1});
                for (size_t i = 0; with_add && i < want.size(); i++) want[i] += add.at(i);
                auto got = run_kernel_all_threads(GetParam(), "linear_dx", {&dy, &w, with_add ? &add : nullptr},
                                                  {{{l.batch, l.tokens, l.in}, t}});
                expect_close(got[0], want, tolerance(t), l.name());
            }
}

// Against the central difference of gelu, so that the formula of the derivative is not checked with itself.
TEST_P(LinearTest, InputGradientThroughGelu) {
    for (const Layer& l : kLayers)
        for (DType t : kTypes) {
            HostTensor dy = random_tensor({l.batch, l.tokens, l.out}, t, 1), w = random_tensor({l.out, l.in}, t, 2);
            HostTensor pre = random_tensor({l.batch, l.tokens, l.in}, t, 3, 2.0);
            auto want = product(l.batch * l.tokens, l.in, l.out, {dy, l.out, 1}, {w, l.in, 1});
            for (size_t i = 0; i < want.size(); i++)
                want[i] *= (gelu(pre.at(i) + 1e-5) - gelu(pre.at(i) - 1e-5)) / 2e-5;
            auto got =
                run_kernel_all_threads(GetParam(), "linear_dx_gelu", {&dy, &w, &pre}, {{{l.batch, l.tokens, l.in}, t}});
            expect_close(got[0], want, tolerance(t), l.name());
        }
}

TEST_P(LinearTest, WeightAndBiasGradient) {
    for (const Layer& l : kLayers)
        for (DType t : kTypes)
            for (bool bias : {false, true}) {
                int64_t rows = l.batch * l.tokens;
                HostTensor dy = random_tensor({l.batch, l.tokens, l.out}, t, 1);
                HostTensor x = random_tensor({l.batch, l.tokens, l.in}, t, 2);
                std::vector<OutputSpec> outputs{{{l.out, l.in}, DType::f32}};
                if (bias) outputs.push_back({{l.out}, DType::f32});
                auto got = run_kernel_all_threads(GetParam(), "linear_dw", {&dy, &x}, outputs, {{"bias", bias}});
                expect_close(got[0], product(l.out, l.in, rows, {dy, 1, l.out}, {x, l.in, 1}), tolerance(DType::f32),
                             l.name() + " dw");
                if (!bias) continue;
                std::vector<double> db(static_cast<size_t>(l.out));
                for (size_t i = 0; i < dy.size(); i++) db[i % db.size()] += dy.at(i);
                expect_close(got[1], db, tolerance(DType::f32), l.name() + " db");
            }
}

INSTANTIATE_TEST_SUITE_P(Isa, LinearTest, testing::ValuesIn(test_isas()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace stepd::test
