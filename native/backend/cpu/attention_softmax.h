// Scores of attention with a query in each lane: [key, query].
#pragma once

#include <cfloat>

#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

// Scales the scores of W queries, adds the bias of each key (may be null), and returns the maxima.
inline Vec finish_scores(float* scores, int64_t keys, int64_t lanes, float scale, const float* key_bias) {
    Vec highest[2] = {set1(-FLT_MAX), set1(-FLT_MAX)};  // two chains hide the latency
    for (int64_t i = 0; i < keys; i++) {
        float* s = scores + i * lanes;
        Vec biased = fma(load(s), set1(scale), set1(key_bias ? key_bias[i] : 0.f));
        store(s, biased);
        highest[i % 2] = max(highest[i % 2], biased);
    }
    return max(highest[0], highest[1]);
}

}  // namespace stepd::STEPD_ISA
