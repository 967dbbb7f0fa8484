// Mean and variance of one row, in two passes.
#pragma once

#include "backend/cpu/elementwise.h"

namespace stepd::STEPD_ISA {

struct RowStatistics {
    float mean, variance;  // population variance
};

// Lanes past the end of a row, set to zero.
inline Vec keep_lanes(Vec x, AllLanes) { return x; }
inline Vec keep_lanes(Vec x, SomeLanes part) {
    float t[W];
    store(t, x);
    return load_part(t, part.lanes);
}

template <class T>
inline RowStatistics row_statistics(const T* x, int64_t n) {
    Vec total = set1(0.f);
    for_vectors(n, [&](int64_t i, auto lanes) { total += load(x + i, lanes); });
    float mean = sum(total) / float(n);
    Vec squares = set1(0.f);
    for_vectors(n, [&](int64_t i, auto lanes) {
        Vec centred = keep_lanes(load(x + i, lanes) - set1(mean), lanes);
        squares = fma(centred, centred, squares);
    });
    return {mean, sum(squares) / float(n)};
}

}  // namespace stepd::STEPD_ISA
