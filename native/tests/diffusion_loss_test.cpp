#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

double element_loss(int kind, double e, double c) {
    if (kind == 0) return e * e;
    return (kind == 1 ? 2 * c : 2) * (std::sqrt(e * e + c * c) - c);
}

struct Loss {
    double loss = 0;
    std::vector<double> per_sample;
};

Loss loss_of(int kind, const std::vector<double>& pred, const std::vector<double>& target,
             const std::vector<double>& weight, const std::vector<double>& c) {
    Loss r;
    size_t B = weight.size(), n = pred.size() / B;
    for (size_t b = 0; b < B; b++) {
        double total = 0;
        for (size_t i = b * n; i < (b + 1) * n; i++) total += element_loss(kind, pred[i] - target[i], c[b]);
        r.per_sample.push_back(weight[b] * total / double(n));
        r.loss += r.per_sample[b] / double(B);
    }
    return r;
}

std::vector<double> gradient(int kind, double dloss, const std::vector<double>& pred, const std::vector<double>& target,
                             const std::vector<double>& weight, const std::vector<double>& c) {
    std::vector<double> d;
    size_t n = pred.size() / weight.size();
    for (size_t i = 0; i < pred.size(); i++) {
        double e = pred[i] - target[i], cb = c[i / n], r = std::sqrt(e * e + cb * cb);
        double derivative = kind == 0 ? 2 * e : (kind == 1 ? 2 * cb : 2) * e / r;
        d.push_back(dloss * weight[i / n] * derivative / double(pred.size()));
    }
    return d;
}

std::vector<double> positive(size_t n) {
    std::vector<double> v;
    for (size_t i = 0; i < n; i++) v.push_back(0.1 + 0.25 * double(i));
    return v;
}

TEST(DiffusionLoss, ReferenceGradientMatchesFiniteDifferences) {
    auto pred = random_tensor({2, 1, 2, 3}, DType::f32, 1).values(),
         target = random_tensor({2, 1, 2, 3}, DType::f32, 2).values();
    for (int kind : {0, 1, 2}) {
        auto d = gradient(kind, 1.5, pred, target, {0.5, 2}, {0.1, 0.7});
        for (size_t i = 0; i < pred.size(); i++)
            EXPECT_NEAR(d[i],
                        finite_difference(
                            [&](auto& p) {
                                return 1.5 * loss_of(kind, p, target, {0.5, 2}, {0.1, 0.7}).loss;
                            },
                            pred, i),
                        1e-8);
    }
}

TEST(DiffusionLoss, ValueAndGradientMatchFloat64) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Shape& shape : std::vector<Shape>{{1, 1, 1, 1}, {3, 4, 5, 7}, {2, 4, 64, 33}, {1, 16, 17, 31}}) {
            for (int kind : {0, 1, 2}) {
                HostTensor pred = random_tensor(shape, dtype, 1), target = random_tensor(shape, DType::f32, 2);
                HostTensor weight({shape[0]}, DType::f32, positive(size_t(shape[0]))), c = weight;
                Attrs attrs{{"kind", double(kind)}};
                Loss want = loss_of(kind, pred.values(), target.values(), weight.values(), c.values());
                auto got = run_kernel_all_threads(isa, "diffusion_loss", {&pred, &target, &weight, &c},
                                                  {{{1}, DType::f32}, {{shape[0]}, DType::f32}}, attrs);
                expect_close(got[0], {want.loss}, 2e-6, "loss");
                expect_close(got[1], want.per_sample, 2e-6, "per_sample");
                HostTensor dloss({1}, DType::f32, {0.75});
                auto d = run_kernel_all_threads(isa, "diffusion_loss_bwd", {&dloss, &pred, &target, &weight, &c},
                                                {{shape, dtype}}, attrs);
                expect_close(d[0], gradient(kind, 0.75, pred.values(), target.values(), weight.values(), c.values()),
                             tolerance(dtype), "dpred");
            }
        }
    });
}

TEST(DiffusionLoss, ExactPredictionHasNoLossAndNoGradient) {
    for (const std::string& isa : test_isas()) {
        for (int kind : {0, 1, 2}) {
            for (double threshold : {0.0, 0.1}) {
                HostTensor x = random_tensor({1, 1, 3, 3}, DType::f32, 1), one({1}, DType::f32, {1}),
                           c({1}, DType::f32, {threshold});
                Attrs attrs{{"kind", double(kind)}};
                auto loss = run_kernel(isa, "diffusion_loss", {&x, &x, &one, &c},
                                       {{{1}, DType::f32}, {{1}, DType::f32}}, attrs);
                EXPECT_EQ(loss[0].at(0), 0);
                auto d =
                    run_kernel(isa, "diffusion_loss_bwd", {&one, &x, &x, &one, &c}, {{x.shape(), DType::f32}}, attrs);
                EXPECT_EQ(d[0].values(), std::vector<double>(9, 0.0)) << "kind " << kind << " c " << threshold;
            }
        }
    }
}

}  // namespace
}  // namespace stepd::test
