// Images to tokens and back: each token is one patch x patch square of all channels.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

struct Patches {
    int64_t batch, channels, height, width;  // of the image
    int64_t patch;
    bool channel_last;  // order of a token's features: py, px, c instead of c, py, px

    int64_t tokens_x() const { return width / patch; }
    int64_t features() const { return channels * patch * patch; }
};

// Calls body(image index, token index) for every element; one ticket is one row of patches.
template <class Body>
void for_elements(Pool& pool, const Patches& s, const Body& body) {
    int64_t tokens_y = s.height / s.patch;
    int64_t step_c = s.channel_last ? 1 : s.patch * s.patch;
    int64_t step_x = s.channel_last ? s.channels : 1;
    pool.run(s.batch * tokens_y, [&](int64_t ticket, int) {
        int64_t b = ticket / tokens_y, ty = ticket % tokens_y;
        for (int64_t c = 0; c < s.channels; c++) {
            for (int64_t py = 0; py < s.patch; py++) {
                int64_t image = ((b * s.channels + c) * s.height + ty * s.patch + py) * s.width;
                int64_t token = ticket * s.tokens_x() * s.features() + c * step_c + py * s.patch * step_x;
                for (int64_t tx = 0; tx < s.tokens_x(); tx++, token += s.features())
                    for (int64_t px = 0; px < s.patch; px++) body(image++, token + px * step_x);
            }
        }
    });
}

}  // namespace

// (x[B,C,h,w]) {patch, channel_last} -> [B, h/patch * w/patch, C*patch*patch]
void op_patchify(const KernelArgs& k) {
    const Tensor& x = k.in[0];
    Patches shape{x.dim(0), x.dim(1), x.dim(2), x.dim(3), int64_t(k.attr("patch")), k.attr("channel_last", 0) != 0};
    with_types(
        [&](const auto* image, auto* tokens) {
            for_elements(k.pool, shape, [&](int64_t i, int64_t t) { store_scalar(tokens + t, to_float(image[i])); });
        },
        x, k.out[0]);
}

// (x[B,S,F]) {patch, height, width, channel_last} -> [B,C,height,width]
void op_unpatchify(const KernelArgs& k) {
    const Tensor& y = k.out[0];
    Patches shape{y.dim(0), y.dim(1), y.dim(2), y.dim(3), int64_t(k.attr("patch")), k.attr("channel_last", 0) != 0};
    with_types(
        [&](const auto* tokens, auto* image) {
            for_elements(k.pool, shape, [&](int64_t i, int64_t t) { store_scalar(image + i, to_float(tokens[t])); });
        },
        k.in[0], y);
}

}  // namespace stepd::STEPD_ISA
