#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

std::vector<double> group_norm(const HostTensor& x, const HostTensor& w, const HostTensor& b, int64_t groups,
                               double eps, bool silu) {
    int64_t B = x.shape()[0], P = x.shape()[1] * x.shape()[2], C = x.shape()[3], G = C / groups;
    std::vector<double> y(x.size());
    for (int64_t sample = 0; sample < B; sample++) {
        for (int64_t g = 0; g < groups; g++) {
            auto at = [&](int64_t i) { return size_t((sample * P + i / G) * C + g * G + i % G); };
            double n = double(P * G), mean = 0, variance = 0;
            for (int64_t i = 0; i < P * G; i++) mean += x.at(at(i)) / n;
            for (int64_t i = 0; i < P * G; i++) variance += std::pow(x.at(at(i)) - mean, 2) / n;
            for (int64_t i = 0; i < P * G; i++) {
                size_t c = size_t(g * G + i % G);
                double v = (x.at(at(i)) - mean) / std::sqrt(variance + eps) * w.at(c) + b.at(c);
                y[at(i)] = silu ? v / (1 + std::exp(-v)) : v;
            }
        }
    }
    return y;
}

TEST(GroupNorm, MatchesFloat64) {
    struct Case {
        Shape shape;
        int64_t groups;
    };
    const std::vector<Case> cases = {{{1, 1, 1, 4}, 2},   {{2, 5, 7, 32}, 32},  {{1, 8, 8, 64}, 32},
                                     {{2, 3, 11, 12}, 4}, {{1, 37, 41, 24}, 3}, {{1, 2, 3, 512}, 32}};
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Case& c : cases) {
            for (bool silu : {false, true}) {
                HostTensor x = random_tensor(c.shape, dtype, 1, 1.5, 4.0);
                HostTensor w = random_tensor({c.shape[3]}, dtype, 2), b = random_tensor({c.shape[3]}, dtype, 3);
                auto y = run_kernel_all_threads(isa, "group_norm", {&x, &w, &b}, {{c.shape, dtype}},
                                                {{"groups", double(c.groups)}, {"eps", 1e-6}, {"silu", double(silu)}});
                // x is offset by 4 and scaled by about 0.7: f32 cancellation costs a few more bits than usual.
                expect_close(y[0], group_norm(x, w, b, c.groups, 1e-6, silu), dtype == DType::f32 ? 5e-6 : 4e-3, "y");
            }
        }
    });
}

}  // namespace
}  // namespace stepd::test
