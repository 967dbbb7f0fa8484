#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/kernel_harness.h"

namespace stepd::test {
namespace {

struct Conv {
    int64_t batch, height, width, in, out, kernel_height, kernel_width, stride, top, left, bottom, right;
    int64_t out_height() const { return (height + top + bottom - kernel_height) / stride + 1; }
    int64_t out_width() const { return (width + left + right - kernel_width) / stride + 1; }
    std::string name() const {
        return std::to_string(height) + "x" + std::to_string(width) + "x" + std::to_string(in) + " kernel " +
               std::to_string(kernel_height) + "x" + std::to_string(kernel_width) + " stride " + std::to_string(stride);
    }
};

const Conv kCases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},    // one pixel
    {2, 5, 7, 3, 8, 3, 3, 1, 1, 1, 1, 1},    // what most layers do
    {1, 9, 8, 16, 24, 3, 3, 2, 0, 0, 1, 1},  // downsampling with padding below and to the right only
    {2, 6, 5, 13, 11, 1, 1, 1, 0, 0, 0, 0},  // pointwise
    {1, 7, 7, 4, 5, 1, 1, 2, 0, 0, 0, 0},    // pointwise with stride
    {1, 4, 3, 5, 7, 1, 1, 1, 1, 1, 1, 1},    // pointwise with padding
    {1, 6, 9, 2, 3, 2, 5, 1, 1, 3, 0, 2},    // nothing symmetric
    {1, 2, 2, 3, 4, 3, 3, 1, 3, 3, 3, 3},    // patches that lie wholly outside
    {1, 8, 8, 20, 6, 4, 4, 4, 0, 0, 0, 0},   // patch embedding
};

std::vector<double> reference(const Conv& c, const HostTensor& x, const HostTensor& w, const HostTensor* bias) {
    std::vector<double> y;
    for (int64_t b = 0; b < c.batch; b++)
        for (int64_t oy = 0; oy < c.out_height(); oy++)
            for (int64_t ox = 0; ox < c.out_width(); ox++)
                for (int64_t o = 0; o < c.out; o++) {
                    double v = bias ? bias->at(size_t(o)) : 0;
                    for (int64_t ky = 0; ky < c.kernel_height; ky++)
                        for (int64_t kx = 0; kx < c.kernel_width; kx++) {
                            int64_t iy = oy * c.stride + ky - c.top, ix = ox * c.stride + kx - c.left;
                            if (iy < 0 || iy >= c.height || ix < 0 || ix >= c.width) continue;
                            for (int64_t i = 0; i < c.in; i++)
                                v += x.at(size_t(((b * c.height + iy) * c.width + ix) * c.in + i)) *
                                     w.at(size_t(((o * c.in + i) * c.kernel_height + ky) * c.kernel_width + kx));
                        }
                    y.push_back(v);
                }
    return y;
}

void check(const std::string& isa, const Conv& c, DType x_type, DType w_type, bool with_bias) {
    HostTensor x = random_tensor({c.batch, c.height, c.width, c.in}, x_type, 1);
    HostTensor w = random_tensor({c.out, c.in, c.kernel_height, c.kernel_width}, w_type, 2);
    HostTensor bias = random_tensor({c.out}, w_type, 3);
    Attrs attrs{{"stride", double(c.stride)},
                {"top", double(c.top)},
                {"left", double(c.left)},
                {"bottom", double(c.bottom)},
                {"right", double(c.right)}};
    auto got = run_kernel_all_threads(isa, "conv2d", {&x, &w, with_bias ? &bias : nullptr},
                                      {{{c.batch, c.out_height(), c.out_width(), c.out}, x_type}}, attrs);
    expect_close(got[0], reference(c, x, w, with_bias ? &bias : nullptr), tolerance(x_type), isa + " " + c.name());
}

class Conv2dTest : public testing::TestWithParam<std::string> {};

TEST_P(Conv2dTest, EveryGeometryAndType) {
    for (const Conv& c : kCases)
        for (DType x_type : {DType::f32, DType::bf16})
            for (DType w_type : {DType::f32, DType::bf16})
                for (bool with_bias : {false, true}) check(GetParam(), c, x_type, w_type, with_bias);
}

// 9 * 1024 channels in f32 make 36 KiB a patch: 484 pixels need two slabs.
TEST_P(Conv2dTest, PatchesThatDoNotFitOneSlab) {
    check(GetParam(), {1, 22, 22, 1024, 3, 3, 3, 1, 1, 1, 1, 1}, DType::f32, DType::f32, true);
}

INSTANTIATE_TEST_SUITE_P(Isa, Conv2dTest, testing::ValuesIn(test_isas()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace stepd::test
