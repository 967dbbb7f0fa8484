// Copies between tensors that differ in one axis: split, stack and slice.
#pragma once

#include <cstring>

#include "backend/cpu/elementwise.h"

namespace stepd::STEPD_ISA {

// dst[to + i] = src[from + i] for i in [0, n), converted when the element types differ.
inline void copy_elements(const Tensor& dst, int64_t to, const Tensor& src, int64_t from, int64_t n) {
    if (dst.dtype == src.dtype) {
        size_t size = size_of(dst.dtype);
        std::memcpy(static_cast<char*>(dst.data) + size_t(to) * size,
                    static_cast<const char*>(src.data) + size_t(from) * size, size_t(n) * size);
        return;
    }
    with_types(
        [&](auto* y, const auto* x) {
            for_vectors(n, [&](int64_t i, auto lanes) { store(y + to + i, load(x + from + i, lanes), lanes); });
        },
        dst, src);
}

// dst[to, n elements] = 0
inline void zero_elements(const Tensor& dst, int64_t to, int64_t n) {
    size_t size = size_of(dst.dtype);
    std::memset(static_cast<char*>(dst.data) + size_t(to) * size, 0, size_t(n) * size);
}

// Products of the extents before and after `axis` (negative counts from the end).
struct AxisView {
    int64_t outer = 1, extent = 1, inner = 1;

    AxisView(const Shape& shape, int64_t axis) {
        int64_t rank = int64_t(shape.size());
        if (axis < 0) axis += rank;
        STEPD_CHECK(axis >= 0 && axis < rank, "axis ", axis, " of a tensor with shape ", to_string(shape));
        for (int64_t i = 0; i < axis; i++) outer *= shape[size_t(i)];
        extent = shape[size_t(axis)];
        for (int64_t i = axis + 1; i < rank; i++) inner *= shape[size_t(i)];
    }
};

}  // namespace stepd::STEPD_ISA
