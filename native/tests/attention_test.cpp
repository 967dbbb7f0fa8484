// attention and attention_bwd against float64; the float64 gradient against finite differences.
#include <algorithm>
#include <cfloat>

#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

struct Dims {
    int64_t B, S, N, H, d;
    Shape queries() const { return {B, S, H * d}; }
    Shape keys() const { return {B, N, H * d}; }
    Shape lse() const { return {B, H, S}; }
    double scale() const { return 1 / std::sqrt(double(d)); }
    size_t query(int64_t b, int64_t s, int64_t h) const { return size_t(((b * S + s) * H + h) * d); }
    size_t key(int64_t b, int64_t n, int64_t h) const { return size_t(((b * N + n) * H + h) * d); }
    Attrs attrs() const { return {{"heads", double(H)}, {"scale", scale()}}; }
};

using Values = std::vector<double>;

struct Forward {
    Values o, lse;
};

// Weights of one query row, and its log-sum-exp.
Values softmax_row(const Dims& dims, const Values& q, const Values& k, const Values& key_bias, const Values& bias,
                   int64_t b, int64_t h, int64_t s, double& lse) {
    Values p(size_t(dims.N));
    for (int64_t n = 0; n < dims.N; n++) {
        double score = 0;
        for (int64_t c = 0; c < dims.d; c++)
            score += q[dims.query(b, s, h) + size_t(c)] * k[dims.key(b, n, h) + size_t(c)];
        score *= dims.scale();
        if (!key_bias.empty()) score += key_bias[size_t(b * dims.N + n)];
        if (!bias.empty()) score += bias[size_t((h * dims.S + s) * dims.N + n)];
        p[size_t(n)] = score;
    }
    double highest = *std::max_element(p.begin(), p.end()), total = 0;
    for (double& v : p) total += v = std::exp(v - highest);
    for (double& v : p) v /= total;
    lse = highest + std::log(total);
    return p;
}

Forward attention(const Dims& dims, const Values& q, const Values& k, const Values& v, const Values& key_bias,
                  const Values& bias = {}) {
    Forward r{Values(q.size()), Values(size_t(numel(dims.lse())))};
    for (int64_t b = 0; b < dims.B; b++)
        for (int64_t h = 0; h < dims.H; h++)
            for (int64_t s = 0; s < dims.S; s++) {
                Values p =
                    softmax_row(dims, q, k, key_bias, bias, b, h, s, r.lse[size_t((b * dims.H + h) * dims.S + s)]);
                for (int64_t n = 0; n < dims.N; n++)
                    for (int64_t c = 0; c < dims.d; c++)
                        r.o[dims.query(b, s, h) + size_t(c)] += p[size_t(n)] * v[dims.key(b, n, h) + size_t(c)];
            }
    return r;
}

struct Gradients {
    Values dq, dk, dv;
};

Gradients attention_bwd(const Dims& dims, const Values& q, const Values& k, const Values& v, const Values& key_bias,
                        const Values& dout) {
    Gradients g{Values(q.size()), Values(k.size()), Values(v.size())};
    for (int64_t b = 0; b < dims.B; b++)
        for (int64_t h = 0; h < dims.H; h++)
            for (int64_t s = 0; s < dims.S; s++) {
                double lse, delta = 0;
                size_t row = dims.query(b, s, h);
                Values p = softmax_row(dims, q, k, key_bias, {}, b, h, s, lse), dp(p.size());
                for (int64_t n = 0; n < dims.N; n++) {
                    for (int64_t c = 0; c < dims.d; c++)
                        dp[size_t(n)] += dout[row + size_t(c)] * v[dims.key(b, n, h) + size_t(c)];
                    delta += p[size_t(n)] * dp[size_t(n)];
                }
                for (int64_t n = 0; n < dims.N; n++) {
                    double ds = dims.scale() * p[size_t(n)] * (dp[size_t(n)] - delta);
                    size_t key = dims.key(b, n, h);
                    for (size_t c = 0; c < size_t(dims.d); c++) {
                        g.dq[row + c] += ds * k[key + c];
                        g.dk[key + c] += ds * q[row + c];
                        g.dv[key + c] += p[size_t(n)] * dout[row + c];
                    }
                }
            }
    return g;
}

// Every other key of the last sample is masked, as padding of a prompt is.
HostTensor padding_mask(const Dims& dims, double masked) {
    HostTensor t({dims.B, dims.N}, DType::f32, Values(size_t(dims.B * dims.N), 0.0));
    for (int64_t n = 1; n < dims.N; n += 2) t.set(size_t((dims.B - 1) * dims.N + n), masked);
    return t;
}

const std::vector<Dims> kDims = {
    {1, 1, 1, 1, 8},     {2, 35, 35, 3, 24},  {1, 64, 32, 2, 64},   {1, 65, 300, 2, 72},
    {2, 17, 5, 2, 12},   {1, 1, 129, 2, 40},  {1, 131, 257, 1, 80}, {1, 70, 140, 2, 128},
    {1, 33, 31, 1, 256}, {1, 40, 67, 1, 512}, {20, 3, 130, 1, 16},  {1, 300, 290, 1, 72},
};

// What bf16 or f32 results may differ by. Tiles also round the weights to bf16.
double allowed(const std::string& isa, DType dtype) {
    if (dtype == DType::f32) return 1e-5;
    return isa.starts_with("amx") ? 6e-3 : 3e-3;
}

struct Inputs {
    HostTensor q, k, v, dout;
    Inputs(const Dims& d, DType dtype)
        : q(random_tensor(d.queries(), dtype, 1, 1.5)),
          k(random_tensor(d.keys(), dtype, 2, 1.5)),
          v(random_tensor(d.keys(), dtype, 3)),
          dout(random_tensor(d.queries(), dtype, 4)) {}
};

TEST(Attention, ForwardMatchesFloat64) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Dims& d : kDims) {
            Inputs in(d, dtype);
            for (double masked : {0.0, -10000.0}) {
                HostTensor key_bias = padding_mask(d, masked);
                auto got = run_kernel_all_threads(isa, "attention",
                                                  {&in.q, &in.k, &in.v, masked ? &key_bias : nullptr, nullptr},
                                                  {{d.queries(), dtype}, {d.lse(), DType::f32}}, d.attrs());
                Forward want =
                    attention(d, in.q.values(), in.k.values(), in.v.values(), masked ? key_bias.values() : Values{});
                expect_close(got[0], want.o, allowed(isa, dtype), "o");
                expect_close(got[1], want.lse, isa.starts_with("amx") ? 1e-4 : 2e-6, "lse");
            }
        }
    });
}

TEST(Attention, TrailingOptionalInputsMayBeLeftOut) {
    Dims d{1, 9, 17, 2, 24};
    for_each_case([&](const std::string& isa, DType dtype) {
        Inputs in(d, dtype);
        std::vector<OutputSpec> outputs{{d.queries(), dtype}, {d.lse(), DType::f32}};
        auto absent = run_kernel(isa, "attention", {&in.q, &in.k, &in.v, nullptr, nullptr}, outputs, d.attrs());
        auto left_out = run_kernel(isa, "attention", {&in.q, &in.k, &in.v}, outputs, d.attrs());
        EXPECT_TRUE(absent[0].same_bits(left_out[0]));
    });
}

TEST(Attention, PositionBiasIsAddedPerHead) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Dims& d : std::vector<Dims>{{2, 35, 35, 3, 24}, {1, 150, 150, 2, 64}, {1, 3, 1, 2, 8}}) {
            Inputs in(d, dtype);
            HostTensor bias = random_tensor({d.H, d.S, d.N}, DType::f32, 5, 2.0), key_bias = padding_mask(d, -FLT_MAX);
            auto got = run_kernel_all_threads(isa, "attention", {&in.q, &in.k, &in.v, &key_bias, &bias},
                                              {{d.queries(), dtype}, {d.lse(), DType::f32}}, d.attrs());
            Forward want = attention(d, in.q.values(), in.k.values(), in.v.values(), key_bias.values(), bias.values());
            expect_close(got[0], want.o, allowed(isa, dtype), "o");
        }
    });
}

TEST(Attention, FullyMaskedRows) {
    Dims d{1, 9, 140, 2, 24};
    for_each_case([&](const std::string& isa, DType dtype) {
        Inputs in(d, dtype);
        // -10000 on every key changes nothing but costs f32 digits; the lowest float swallows the scores: uniform
        // weights.
        HostTensor mild({1, d.N}, DType::f32, Values(size_t(d.N), -10000.0));
        HostTensor lowest({1, d.N}, DType::f32, Values(size_t(d.N), -FLT_MAX));
        std::vector<OutputSpec> outputs{{d.queries(), dtype}, {d.lse(), DType::f32}};
        auto got = run_kernel_all_threads(isa, "attention", {&in.q, &in.k, &in.v, &mild, nullptr}, outputs, d.attrs());
        expect_close(got[0], attention(d, in.q.values(), in.k.values(), in.v.values(), {}).o, 6e-3, "-10000");
        got = run_kernel_all_threads(isa, "attention", {&in.q, &in.k, &in.v, &lowest, nullptr}, outputs, d.attrs());
        Values mean(in.q.size());
        for (size_t i = 0; i < mean.size(); i++)
            for (int64_t n = 0; n < d.N; n++)
                mean[i] += in.v.at(size_t(n * d.H * d.d) + i % size_t(d.H * d.d)) / double(d.N);
        expect_close(got[0], mean, 6e-3, "lowest float");
    });
}

TEST(Attention, LargeScoresStayFinite) {
    Dims d{1, 40, 300, 1, 8};
    for (const std::string& isa : test_isas()) {
        Inputs in(d, DType::f32);
        for (size_t i = 0; i < in.q.size(); i++) in.q.set(i, in.q.at(i) * 100);
        auto got = run_kernel(isa, "attention", {&in.q, &in.k, &in.v, nullptr, nullptr},
                              {{d.queries(), DType::f32}, {d.lse(), DType::f32}}, d.attrs());
        Forward want = attention(d, in.q.values(), in.k.values(), in.v.values(), {});
        expect_close(got[0], want.o, 1e-4, isa);  // scores near 300: f32 keeps about 3e-5 of an exponent
        expect_close(got[1], want.lse, 2e-6, isa);
    }
}

TEST(AttentionBackward, ReferenceMatchesFiniteDifferences) {
    Dims d{1, 3, 4, 2, 3};
    Inputs in(d, DType::f32);
    Values q = in.q.values(), k = in.k.values(), v = in.v.values(), dout = in.dout.values(), mask{0, -1, 0.5, 0};
    Gradients want = attention_bwd(d, q, k, v, mask, dout);
    for (size_t i = 0; i < q.size(); i++)
        EXPECT_NEAR(want.dq[i],
                    finite_difference([&](auto& x) { return dot(dout, attention(d, x, k, v, mask).o); }, q, i), 1e-7);
    for (size_t i = 0; i < k.size(); i++) {
        EXPECT_NEAR(want.dk[i],
                    finite_difference([&](auto& x) { return dot(dout, attention(d, q, x, v, mask).o); }, k, i), 1e-7);
        EXPECT_NEAR(want.dv[i],
                    finite_difference([&](auto& x) { return dot(dout, attention(d, q, k, x, mask).o); }, v, i), 1e-7);
    }
}

TEST(AttentionBackward, MatchesFloat64) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Dims& d : kDims) {
            Inputs in(d, dtype);
            for (double masked : {0.0, -10000.0}) {
                HostTensor mask = padding_mask(d, masked);
                const HostTensor* key_bias = masked ? &mask : nullptr;
                Values bias = masked ? mask.values() : Values{};
                Forward forward = attention(d, in.q.values(), in.k.values(), in.v.values(), bias);
                HostTensor o(d.queries(), DType::f32, forward.o), lse(d.lse(), DType::f32, forward.lse);
                auto got =
                    run_kernel_all_threads(isa, "attention_bwd", {&in.q, &in.k, &in.v, key_bias, &o, &lse, &in.dout},
                                           {{d.queries(), dtype}, {d.keys(), dtype}, {d.keys(), dtype}}, d.attrs());
                Gradients want = attention_bwd(d, in.q.values(), in.k.values(), in.v.values(), bias, in.dout.values());
                expect_close(got[0], want.dq, allowed(isa, dtype), "dq");
                expect_close(got[1], want.dk, allowed(isa, dtype), "dk");
                expect_close(got[2], want.dv, allowed(isa, dtype), "dv");
            }
        }
    });
}

}  // namespace
}  // namespace stepd::test
