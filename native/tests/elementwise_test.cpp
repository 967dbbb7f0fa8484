// add, mul, scale, cast, gelu, silu and their gradients, relu, tanh, sum_leading.
#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

using Function = std::function<double(double)>;

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double gelu_derivative(double x) {
    double t = std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}
double silu(double x) { return x / (1 + std::exp(-x)); }
double silu_derivative(double x) {
    double s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
}

const std::vector<Shape> kShapes = {{1}, {3}, {31}, {2, 35, 72}, {1, 97, 17}, {2, 16411}};

std::vector<double> map(const std::vector<double>& x, const Function& f) {
    std::vector<double> y;
    for (double v : x) y.push_back(f(v));
    return y;
}

TEST(Elementwise, UnaryMatchesFloat64) {
    const std::vector<std::tuple<std::string, Attrs, Function>> ops = {
        {"gelu", {}, gelu},
        {"silu", {}, silu},
        {"scale", {{"alpha", -0.375}}, [](double x) { return -0.375 * x; }},
        {"scale", {{"alpha", 2}, {"beta", -1}}, [](double x) { return 2 * x - 1; }},
        {"relu", {}, [](double x) { return std::max(0.0, x); }},
        {"tanh", {}, [](double x) { return std::tanh(x); }},
    };
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const auto& [op, attrs, f] : ops) {
            for (const Shape& shape : kShapes) {
                HostTensor x = random_tensor(shape, dtype, 1, 2.0);
                auto y = run_kernel_all_threads(isa, op, {&x}, {{shape, dtype}}, attrs);
                expect_close(y[0], map(x.values(), f), element_tolerance(dtype), op);
            }
        }
    });
}

TEST(Elementwise, GradientsMatchFloat64) {
    const std::vector<std::tuple<std::string, Function, Function>> ops = {
        {"gelu_bwd", gelu, gelu_derivative},
        {"silu_bwd", silu, silu_derivative},
    };
    for (const auto& [op, f, derivative] : ops)
        for (double x : {-6.0, -1.25, -0.1, 0.0, 0.3, 2.0, 7.0})
            EXPECT_NEAR(derivative(x), (f(x + 1e-5) - f(x - 1e-5)) / 2e-5, 1e-9) << op << " at " << x;
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const auto& [op, f, derivative] : ops) {
            for (const Shape& shape : kShapes) {
                HostTensor dy = random_tensor(shape, dtype, 2), x = random_tensor(shape, dtype, 3, 2.0);
                auto dx = run_kernel_all_threads(isa, op, {&dy, &x}, {{shape, dtype}});
                std::vector<double> want = map(x.values(), derivative);
                for (size_t i = 0; i < want.size(); i++) want[i] *= dy.at(i);
                expect_close(dx[0], want, element_tolerance(dtype), op);
            }
        }
    });
}

TEST(Elementwise, SaturatesFarFromZero) {
    for (const std::string& isa : test_isas()) {
        HostTensor x({4}, DType::f32, {-1e4, -60, 60, 1e4});
        for (const std::string op : {"gelu", "silu"}) {
            auto y = run_kernel(isa, op, {&x}, {{{4}, DType::f32}});
            EXPECT_NEAR(y[0].at(0), 0, 1e-20) << op;
            EXPECT_NEAR(y[0].at(1), 0, 1e-20) << op;
            EXPECT_EQ(y[0].at(2), 60) << op;
            EXPECT_EQ(y[0].at(3), 1e4) << op;
        }
        auto y = run_kernel(isa, "tanh", {&x}, {{{4}, DType::f32}});
        EXPECT_EQ(y[0].values(), (std::vector<double>{-1, -1, 1, 1}));
    }
}

TEST(Elementwise, SumAndProductBroadcastASuffix) {
    const std::vector<std::pair<Shape, Shape>> shapes = {
        {{7}, {7}},          {{1}, {1}},      {{2, 35, 72}, {2, 35, 72}}, {{2, 35, 72}, {35, 72}}, {{3, 5}, {5}},
        {{2, 35, 72}, {72}}, {{300, 1}, {1}}, {{2, 20011}, {20011}},
    };
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const auto& [shape_a, shape_b] : shapes) {
            for (DType dtype_b : {DType::f32, DType::bf16}) {
                HostTensor a = random_tensor(shape_a, dtype, 4), b = random_tensor(shape_b, dtype_b, 5);
                std::vector<double> sum, product;
                for (size_t i = 0; i < a.size(); i++) {
                    sum.push_back(a.at(i) + b.at(i % b.size()));
                    product.push_back(a.at(i) * b.at(i % b.size()));
                }
                expect_close(run_kernel_all_threads(isa, "add", {&a, &b}, {{shape_a, dtype}})[0], sum,
                             element_tolerance(dtype), "add");
                expect_close(run_kernel_all_threads(isa, "mul", {&a, &b}, {{shape_a, dtype}})[0], product,
                             element_tolerance(dtype), "mul");
            }
        }
    });
}

TEST(Elementwise, CastRoundsToNearestEven) {
    // 1 + 2^-8 and 1 + 3 * 2^-8 lie half way between two bf16 values.
    const std::vector<double> x = {1.00390625, 1.01171875, -1.00390625, 3.0e38, 1e-40, 0};
    const std::vector<double> rounded = {1.0, 1.015625, -1.0, 3.00405527e38, 0, 0};
    for (const std::string& isa : test_isas()) {
        HostTensor wide({6}, DType::f32, x);
        auto narrow = run_kernel_all_threads(isa, "cast", {&wide}, {{{6}, DType::bf16}}, {{"dtype", 1}});
        for (size_t i = 0; i < x.size(); i++)
            EXPECT_NEAR(narrow[0].at(i), rounded[i], 1e-5 * std::abs(rounded[i]) + 1e-39) << isa << " element " << i;
        auto back = run_kernel_all_threads(isa, "cast", {&narrow[0]}, {{{6}, DType::f32}}, {{"dtype", 0}});
        EXPECT_EQ(back[0].values(), narrow[0].values());
        HostTensor nan({1}, DType::f32, {NAN});
        EXPECT_TRUE(std::isnan(run_kernel(isa, "cast", {&nan}, {{{1}, DType::bf16}}, {{"dtype", 1}})[0].at(0)));
    }
}

TEST(Elementwise, SumLeadingAddsAllButTheLastDimensions) {
    const std::vector<std::tuple<Shape, int>> cases = {
        {{5}, 1}, {{1, 7}, 1}, {{35, 72}, 1}, {{3, 97, 24}, 1}, {{3, 97, 24}, 2}, {{1025, 1}, 1}, {{40, 16411}, 1},
    };
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const auto& [shape, rank] : cases) {
            HostTensor x = random_tensor(shape, dtype, 6);
            Shape rest(shape.end() - rank, shape.end());
            std::vector<double> want(size_t(numel(rest)));
            for (size_t i = 0; i < x.size(); i++) want[i % want.size()] += x.at(i);
            auto y = run_kernel_all_threads(isa, "sum_leading", {&x}, {{rest, DType::f32}}, {{"rank", double(rank)}});
            expect_close(y[0], want, 2e-6, "sum_leading");
        }
    });
}

}  // namespace
}  // namespace stepd::test
