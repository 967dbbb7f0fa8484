// norm_modulate, gate_residual and their gradients; rms_norm.
#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

constexpr double kEps = 1e-6;

struct Dims {
    int64_t B, S, D;
    Shape tokens() const { return {B, S, D}; }
    Shape vectors() const { return {B, D}; }
    Shape rows() const { return {B, S}; }
};
const std::vector<Dims> kDims = {{1, 1, 8}, {2, 35, 72}, {3, 64, 24}, {1, 97, 17}, {2, 5, 1152}, {1, 300, 129}};

struct Normed {
    std::vector<double> y, mean, rstd;
};

Normed norm_modulate(const Dims& d, const std::vector<double>& x, const std::vector<double>& scale,
                     const std::vector<double>& shift) {
    Normed r;
    for (int64_t row = 0; row < d.B * d.S; row++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < d.D; i++) mean += x[size_t(row * d.D + i)] / double(d.D);
        for (int64_t i = 0; i < d.D; i++) variance += std::pow(x[size_t(row * d.D + i)] - mean, 2) / double(d.D);
        double rstd = 1 / std::sqrt(variance + kEps);
        for (int64_t i = 0; i < d.D; i++) {
            size_t v = size_t(row / d.S * d.D + i);
            r.y.push_back((x[size_t(row * d.D + i)] - mean) * rstd * (1 + scale[v]) + shift[v]);
        }
        r.mean.push_back(mean);
        r.rstd.push_back(rstd);
    }
    return r;
}

struct Gradients {
    std::vector<double> dx, dscale, dshift;
};

Gradients norm_modulate_bwd(const Dims& d, const std::vector<double>& dy, const std::vector<double>& x,
                            const std::vector<double>& scale) {
    Normed forward = norm_modulate(d, x, scale, std::vector<double>(scale.size()));
    Gradients r{std::vector<double>(x.size()), std::vector<double>(scale.size()), std::vector<double>(scale.size())};
    for (int64_t row = 0; row < d.B * d.S; row++) {
        double mean_g = 0, mean_gn = 0, rstd = forward.rstd[size_t(row)];
        auto normed = [&](int64_t i) { return (x[size_t(row * d.D + i)] - forward.mean[size_t(row)]) * rstd; };
        auto g = [&](int64_t i) { return dy[size_t(row * d.D + i)] * (1 + scale[size_t(row / d.S * d.D + i)]); };
        for (int64_t i = 0; i < d.D; i++) {
            mean_g += g(i) / double(d.D);
            mean_gn += g(i) * normed(i) / double(d.D);
            r.dscale[size_t(row / d.S * d.D + i)] += dy[size_t(row * d.D + i)] * normed(i);
            r.dshift[size_t(row / d.S * d.D + i)] += dy[size_t(row * d.D + i)];
        }
        for (int64_t i = 0; i < d.D; i++) r.dx[size_t(row * d.D + i)] = rstd * (g(i) - mean_g - normed(i) * mean_gn);
    }
    return r;
}

TEST(NormModulate, ForwardMatchesFloat64) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Dims& d : kDims) {
            HostTensor x = random_tensor(d.tokens(), dtype, 1, 2.0, 0.7);
            HostTensor scale = random_tensor(d.vectors(), DType::f32, 2),
                       shift = random_tensor(d.vectors(), DType::f32, 3);
            auto got = run_kernel_all_threads(isa, "norm_modulate", {&x, &scale, &shift},
                                              {{d.tokens(), dtype}, {d.rows(), DType::f32}, {d.rows(), DType::f32}},
                                              {{"eps", kEps}});
            Normed want = norm_modulate(d, x.values(), scale.values(), shift.values());
            expect_close(got[0], want.y, tolerance(dtype), "y");
            expect_close(got[1], want.mean, 2e-6, "mean");
            expect_close(got[2], want.rstd, 2e-6, "rstd");
        }
    });
}

TEST(NormModulate, FarFromZeroKeepsItsPrecision) {  // one-pass variance would lose all digits here
    for (const std::string& isa : test_isas()) {
        Dims d{1, 3, 72};
        HostTensor x = random_tensor(d.tokens(), DType::f32, 1, 1.0, 3000.0);
        HostTensor scale = random_tensor(d.vectors(), DType::f32, 2), shift = random_tensor(d.vectors(), DType::f32, 3);
        auto got =
            run_kernel(isa, "norm_modulate", {&x, &scale, &shift},
                       {{d.tokens(), DType::f32}, {d.rows(), DType::f32}, {d.rows(), DType::f32}}, {{"eps", kEps}});
        expect_close(got[0], norm_modulate(d, x.values(), scale.values(), shift.values()).y, 1e-3, isa);
    }
}

TEST(NormModulate, ReferenceGradientMatchesFiniteDifferences) {
    Dims d{2, 3, 5};
    auto x = random_tensor(d.tokens(), DType::f32, 1).values(),
         scale = random_tensor(d.vectors(), DType::f32, 2).values();
    auto shift = random_tensor(d.vectors(), DType::f32, 3).values(),
         dy = random_tensor(d.tokens(), DType::f32, 4).values();
    Gradients want = norm_modulate_bwd(d, dy, x, scale);
    for (size_t i = 0; i < x.size(); i++)
        EXPECT_NEAR(want.dx[i],
                    finite_difference([&](auto& v) { return dot(dy, norm_modulate(d, v, scale, shift).y); }, x, i),
                    1e-7);
    for (size_t i = 0; i < scale.size(); i++) {
        EXPECT_NEAR(want.dscale[i],
                    finite_difference([&](auto& v) { return dot(dy, norm_modulate(d, x, v, shift).y); }, scale, i),
                    1e-7);
        EXPECT_NEAR(want.dshift[i],
                    finite_difference([&](auto& v) { return dot(dy, norm_modulate(d, x, scale, v).y); }, shift, i),
                    1e-7);
    }
}

TEST(NormModulate, GradientMatchesFloat64) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Dims& d : kDims) {
            HostTensor x = random_tensor(d.tokens(), dtype, 1, 2.0, 0.7), dy = random_tensor(d.tokens(), dtype, 5);
            HostTensor scale = random_tensor(d.vectors(), DType::f32, 2), add = random_tensor(d.tokens(), dtype, 6);
            Normed forward = norm_modulate(d, x.values(), scale.values(), std::vector<double>(scale.size()));
            HostTensor mean(d.rows(), DType::f32, forward.mean), rstd(d.rows(), DType::f32, forward.rstd);
            Gradients want = norm_modulate_bwd(d, dy.values(), x.values(), scale.values());
            for (const HostTensor* residual : {(const HostTensor*)nullptr, (const HostTensor*)&add}) {
                auto got =
                    run_kernel_all_threads(isa, "norm_modulate_bwd", {&dy, &x, &scale, &mean, &rstd, residual},
                                           {{d.tokens(), dtype}, {d.vectors(), DType::f32}, {d.vectors(), DType::f32}});
                std::vector<double> dx = want.dx;
                for (size_t i = 0; residual && i < dx.size(); i++) dx[i] += add.at(i);
                expect_close(got[0], dx, tolerance(dtype), "dx");
                expect_close(got[1], want.dscale, 3e-6, "dscale");
                expect_close(got[2], want.dshift, 3e-6, "dshift");
            }
        }
    });
}

TEST(GateResidual, ForwardAndGradientMatchFloat64) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Dims& d : kDims) {
            HostTensor x = random_tensor(d.tokens(), dtype, 1), y = random_tensor(d.tokens(), dtype, 2);
            HostTensor gate = random_tensor(d.vectors(), DType::f32, 3), dout = random_tensor(d.tokens(), dtype, 4);
            std::vector<double> out, dy, dgate(gate.size());
            for (size_t i = 0; i < x.size(); i++) {
                size_t v = i / size_t(d.S * d.D) * size_t(d.D) + i % size_t(d.D);
                out.push_back(x.at(i) + gate.at(v) * y.at(i));
                dy.push_back(gate.at(v) * dout.at(i));
                dgate[v] += dout.at(i) * y.at(i);
            }
            auto forward = run_kernel_all_threads(isa, "gate_residual", {&x, &gate, &y}, {{d.tokens(), dtype}});
            expect_close(forward[0], out, tolerance(dtype), "out");
            auto backward = run_kernel_all_threads(isa, "gate_residual_bwd", {&dout, &gate, &y},
                                                   {{d.tokens(), dtype}, {d.vectors(), DType::f32}});
            expect_close(backward[0], dy, tolerance(dtype), "dy");
            expect_close(backward[1], dgate, 3e-6, "dgate");
            auto frozen =
                run_kernel_all_threads(isa, "gate_residual_bwd", {&dout, &gate, nullptr}, {{d.tokens(), dtype}});
            EXPECT_TRUE(frozen[0].same_bits(backward[0])) << "without y only dgate is left out";
        }
    });
}

TEST(RmsNorm, RoundsBeforeTheWeightAsT5Does) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Shape& shape : std::vector<Shape>{{1, 1}, {3, 8}, {2, 35, 72}, {7, 129}, {5, 4096}}) {
            HostTensor x = random_tensor(shape, dtype, 1, 3.0), w = random_tensor({shape.back()}, dtype, 2);
            std::vector<double> want;
            for (size_t row = 0; row < x.size() / w.size(); row++) {
                double squares = 0;
                for (size_t i = 0; i < w.size(); i++)
                    squares += std::pow(x.at(row * w.size() + i), 2) / double(w.size());
                for (size_t i = 0; i < w.size(); i++) {
                    HostTensor normed({1}, dtype, {x.at(row * w.size() + i) / std::sqrt(squares + kEps)});
                    want.push_back(normed.at(0) * w.at(i));
                }
            }
            auto y = run_kernel_all_threads(isa, "rms_norm", {&x, &w}, {{shape, dtype}}, {{"eps", kEps}});
            expect_close(y[0], want, tolerance(dtype), "y");
        }
    });
}

}  // namespace
}  // namespace stepd::test
