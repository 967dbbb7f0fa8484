// Element types, shapes and the plain tensor view that kernels see.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stepd {

enum class DType : uint8_t { f32, bf16, i32 };

inline size_t size_of(DType t) { return t == DType::bf16 ? 2 : 4; }
inline const char* name_of(DType t) { return t == DType::f32 ? "f32" : t == DType::bf16 ? "bf16" : "i32"; }

// bfloat16: the upper half of a float32. Conversion rounds to nearest even; NaN stays NaN.
struct bf16 {
    uint16_t bits;
};
inline float to_float(bf16 v) { return std::bit_cast<float>(uint32_t(v.bits) << 16); }
inline float to_float(float v) { return v; }
inline bf16 to_bf16(float v) {
    uint32_t u = std::bit_cast<uint32_t>(v);
    if ((u & 0x7fffffff) > 0x7f800000) return bf16{uint16_t((u >> 16) | 0x40)};
    return bf16{uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
}

using Shape = std::vector<int64_t>;

inline int64_t numel(const Shape& s) {
    int64_t n = 1;
    for (int64_t d : s) n *= d;
    return n;
}
std::string to_string(const Shape& s);  // "[2, 35, 72]"

// A view of memory owned by someone else: row-major, contiguous. data is null for an absent optional argument.
struct Tensor {
    void* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;

    explicit operator bool() const { return data != nullptr; }
    int64_t numel() const { return stepd::numel(shape); }
    size_t bytes() const { return size_t(numel()) * size_of(dtype); }
    int64_t dim(int i) const { return shape[i < 0 ? shape.size() + i : i]; }  // negative counts from the end
    float* f32() const { return static_cast<float*>(data); }
    stepd::bf16* bf16() const { return static_cast<stepd::bf16*>(data); }
    int32_t* i32() const { return static_cast<int32_t*>(data); }
};

}  // namespace stepd
