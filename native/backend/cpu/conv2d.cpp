// Two-dimensional convolution over channels-last pictures: picture patches are copied side by side (im2col) for a slab
// of output pixels at a time, and multiplied with the weight.
#include <cstring>

#include "backend/cpu/gemm_internal.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr size_t kSlabBytes = size_t(16) << 20;  // patches held at once
constexpr int64_t kPixelsPerTicket = 32;

struct Geometry {
    int64_t batch, height, width, channels;       // input
    int64_t out_height, out_width, out_channels;  // output
    int64_t kernel_height, kernel_width;
    int64_t stride, top, left;  // zero padding above and to the left; the rest follows
    int64_t pixels() const { return batch * out_height * out_width; }
    int64_t patch() const { return kernel_height * kernel_width * channels; }
    // A 1x1 kernel without stride and padding multiplies the picture as it lies.
    bool pointwise() const {
        return kernel_height == 1 && kernel_width == 1 && stride == 1 && out_height == height && out_width == width &&
               top == 0 && left == 0;
    }
};

Geometry geometry_of(const KernelArgs& k) {
    const Tensor &x = k.in[0], &w = k.in[1], &y = k.out[0];
    Geometry g;
    g.batch = x.dim(0), g.height = x.dim(1), g.width = x.dim(2), g.channels = x.dim(3);
    g.out_height = y.dim(1), g.out_width = y.dim(2), g.out_channels = y.dim(3);
    g.kernel_height = w.dim(2), g.kernel_width = w.dim(3);
    g.stride = int64_t(k.attr("stride")), g.top = int64_t(k.attr("top")), g.left = int64_t(k.attr("left"));
    return g;
}

// The patch of output pixel p, [kernel_height][kernel_width][channels], zero outside of the picture.
void copy_patch(const Geometry& g, const char* x, size_t element, int64_t p, char* dst) {
    int64_t b = p / (g.out_height * g.out_width);
    int64_t y0 = p / g.out_width % g.out_height * g.stride - g.top, x0 = p % g.out_width * g.stride - g.left;
    size_t pixel_bytes = size_t(g.channels) * element;
    int64_t begin = std::clamp<int64_t>(-x0, 0, g.kernel_width);  // columns of the kernel inside the picture
    int64_t end = std::clamp<int64_t>(g.width - x0, begin, g.kernel_width);
    for (int64_t ky = 0; ky < g.kernel_height; ky++, dst += g.kernel_width * pixel_bytes) {
        int64_t row = y0 + ky;
        if (row < 0 || row >= g.height || begin == end) {
            std::memset(dst, 0, g.kernel_width * pixel_bytes);
            continue;
        }
        const char* from = x + ((b * g.height + row) * g.width + x0 + begin) * int64_t(pixel_bytes);
        std::memset(dst, 0, begin * pixel_bytes);
        std::memcpy(dst + begin * pixel_bytes, from, (end - begin) * pixel_bytes);
        std::memset(dst + end * pixel_bytes, 0, (g.kernel_width - end) * pixel_bytes);
    }
}

// Weight [O][C][kh*kw] to [O][kh*kw][C], the order of the patches.
template <class T>
void reorder_weight(const Geometry& g, const T* w, T* dst, Pool& pool) {
    int64_t taps = g.kernel_height * g.kernel_width;
    pool.run(g.out_channels, [&](int64_t o, int) {
        const T* from = w + o * g.patch();
        T* to = dst + o * g.patch();
        for (int64_t t = 0; t < taps; t++)
            for (int64_t c = 0; c < g.channels; c++) to[t * g.channels + c] = from[c * taps + t];
    });
}

Gemm product_of(const KernelArgs& k, const Geometry& g) {
    Gemm p;
    p.m = g.pixels();
    p.n = g.out_channels;
    p.k = g.patch();
    p.a = Matrix{k.in[0].data, k.in[0].dtype, p.k};
    p.b = Matrix{k.in[1].data, k.in[1].dtype, p.k};
    p.b_transposed = true;
    p.c = Matrix{k.out[0].data, k.out[0].dtype, p.n};
    if (k.in.size() > 2 && k.in[2]) p.bias = &k.in[2];
    return p;
}

}  // namespace

void op_conv2d(const KernelArgs& k) {
    Geometry g = geometry_of(k);
    Gemm whole = product_of(k, g);
    if (g.pointwise()) return gemm(whole, k.pool);

    size_t element = size_of(whole.a.dtype), patch_bytes = size_t(g.patch()) * element;
    int64_t slab = std::clamp<int64_t>(int64_t(kSlabBytes / patch_bytes), 1, whole.m);
    size_t weight_bytes = size_t(round_up(int64_t(k.in[1].bytes()), 64));
    size_t reserved = weight_bytes + size_t(round_up(int64_t(size_t(slab) * patch_bytes), 64));

    Gemm part = whole;
    part.m = slab;
    size_t need = gemm_scratch_bytes(part, k.pool.threads());
    if (int64_t rest = whole.m % slab) {
        part.m = rest;
        need = std::max(need, gemm_scratch_bytes(part, k.pool.threads()));
    }
    char* weight = static_cast<char*>(k.pool.scratch(0, reserved + need));
    char* patches = weight + weight_bytes;
    if (whole.b.dtype == DType::f32)
        reorder_weight(g, k.in[1].f32(), reinterpret_cast<float*>(weight), k.pool);
    else
        reorder_weight(g, k.in[1].bf16(), reinterpret_cast<bf16*>(weight), k.pool);
    part.a.data = patches;
    part.b.data = weight;
    for (int64_t first = 0; first < whole.m; first += slab) {
        part.m = std::min(slab, whole.m - first);
        part.c.data = static_cast<char*>(whole.c.data) + first * part.n * int64_t(size_of(part.c.dtype));
        k.pool.run(divide_up(part.m, kPixelsPerTicket), [&](int64_t ticket, int) {
            int64_t end = std::min(part.m, (ticket + 1) * kPixelsPerTicket);
            for (int64_t p = ticket * kPixelsPerTicket; p < end; p++)
                copy_patch(g, static_cast<const char*>(k.in[0].data), element, first + p,
                           patches + size_t(p) * patch_bytes);
        });
        gemm_reserving(part, k.pool, reserved);
    }
}

}  // namespace stepd::STEPD_ISA
