// AdamW (Loshchilov and Hutter). Every operation rounds where torch.optim.AdamW(foreach=False) rounds in f32, except
// that torch's square root may be off by one unit in the last place. Arithmetic is f32 whatever the storage; results
// stored as bf16 are rounded stochastically.
#pragma once

#include <cmath>

#include "optim/optimizer.h"
#include "optim/update/rounding.h"

namespace stepd::STEPD_ISA {

enum AdamWSetting { kBeta1, kBeta2, kEps, kWeightDecay };

struct AdamWScalars {
    float keep;        // 1 - lr * weight_decay
    float beta1_rate;  // 1 - beta1
    float beta2, beta2_rate;
    float root_correction;  // sqrt(1 - beta2^step)
    float eps;
    float step_size;  // -lr / (1 - beta1^step)

    explicit AdamWScalars(const UpdateContext& c) {
        const double* s = c.settings;
        keep = float(1 - c.lr * s[kWeightDecay]);
        beta1_rate = float(1 - s[kBeta1]);
        beta2 = float(s[kBeta2]);
        beta2_rate = float(1 - s[kBeta2]);
        root_correction = float(std::sqrt(1 - std::pow(s[kBeta2], double(c.step))));
        eps = float(s[kEps]);
        step_size = float(-(c.lr / (1 - std::pow(s[kBeta1], double(c.step)))));
    }
};

struct AdamWVectors {
    Vec weight, m, v;
};

inline AdamWVectors adamw_vector(AdamWVectors x, Vec g, const AdamWScalars& s) {
    x.weight = x.weight * set1(s.keep);
    // torch's lerp chooses the form that is exact at the nearer end.
    x.m = s.beta1_rate < 0.5f ? fma(set1(s.beta1_rate), g - x.m, x.m) : fma(set1(s.beta1_rate - 1.f), g - x.m, g);
    x.v = fma(set1(s.beta2_rate) * g, g, x.v * set1(s.beta2));
    Vec denominator = sqrt(x.v) / set1(s.root_correction) + set1(s.eps);
    x.weight = x.weight + set1(s.step_size) * x.m / denominator;
    return x;
}

template <class Weight, class State>
void adamw_range(const UpdateRange& r, const UpdateContext& context) {
    const AdamWScalars s(context);
    auto* weight = static_cast<Weight*>(r.weight);
    auto* m = static_cast<State*>(r.state[0]);
    auto* v = static_cast<State*>(r.state[1]);
    int64_t i = 0;
    for (; i + W <= r.count; i += W) {
        AdamWVectors x = adamw_vector({load(weight + i), load(m + i), load(v + i)}, load(r.gradient + i), s);
        RandomBits random = random_bits(r.key, r.begin + i);
        store_rounded(weight + i, x.weight, random.a);
        store_rounded(m + i, x.m, random.b);
        store_rounded(v + i, x.v, random.c);
    }
    if (int n = int(r.count - i); n > 0) {
        AdamWVectors x = adamw_vector({load_part(weight + i, n), load_part(m + i, n), load_part(v + i, n)},
                                      load_part(r.gradient + i, n), s);
        RandomBits random = random_bits(r.key, r.begin + i);
        auto store_some = [n](auto* to, Vec value, Bits bits) {
            std::remove_pointer_t<decltype(to)> lanes[W];
            store_rounded(lanes, value, bits);
            for (int lane = 0; lane < n; lane++) to[lane] = lanes[lane];
        };
        store_some(weight + i, x.weight, random.a);
        store_some(m + i, x.m, random.b);
        store_some(v + i, x.v, random.c);
    }
}

template <class State>
void adamw_update(const UpdateRange& r, const UpdateContext& context) {
    if (r.weight_dtype == DType::bf16)
        adamw_range<bf16, State>(r, context);
    else
        adamw_range<float, State>(r, context);
}

}  // namespace stepd::STEPD_ISA
