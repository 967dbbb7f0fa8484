// Kernels that only move elements: split, stack, slice, reshape, patchify, layouts, upsampling. Results are exact.
#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

// 0, 1, 2 .. 255, 0 .. so that every value is exact in bf16.
HostTensor counting(const Shape& shape, DType dtype) {
    HostTensor t(shape, dtype);
    for (size_t i = 0; i < t.size(); i++) t.set(i, double(i % 251));
    return t;
}

struct AxisCase {
    Shape shape;
    int axis, parts;
    Shape part;  // shape of one part
};
const std::vector<AxisCase> kAxisCases = {
    {{2, 6, 24}, 1, 6, {2, 24}},    {{2, 6, 24}, 1, 2, {2, 3, 24}},    {{3, 10}, -1, 2, {3, 5}},  {{4, 7}, 0, 4, {7}},
    {{2, 5, 34}, 2, 2, {2, 5, 17}}, {{1, 2, 40000}, 1, 2, {1, 40000}}, {{3, 1, 5}, 1, 1, {3, 5}},
};

// Element of the whole that is element i of a part.
size_t index_in_whole(const AxisCase& c, size_t i, int part) {
    size_t axis = size_t(c.axis < 0 ? c.axis + int(c.shape.size()) : c.axis), inner = 1;
    for (size_t d = axis + 1; d < c.shape.size(); d++) inner *= size_t(c.shape[d]);
    size_t run = size_t(c.shape[axis] / c.parts) * inner;
    return i / run * run * size_t(c.parts) + size_t(part) * run + i % run;
}

TEST(Movement, SplitAndStackAreInverse) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const AxisCase& c : kAxisCases) {
            HostTensor x = counting(c.shape, dtype);
            Attrs split{{"axis", double(c.axis)}, {"parts", double(c.parts)}};
            auto parts = run_kernel_all_threads(isa, "split", {&x},
                                                std::vector(size_t(c.parts), OutputSpec{c.part, dtype}), split);
            std::vector<const HostTensor*> inputs;
            for (int p = 0; p < c.parts; p++) {
                for (size_t i = 0; i < parts[size_t(p)].size(); i++)
                    ASSERT_EQ(parts[size_t(p)].at(i), x.at(index_in_whole(c, i, p))) << to_string(c.shape);
                inputs.push_back(&parts[size_t(p)]);
            }
            double squeeze = c.part.size() < c.shape.size();
            auto whole = run_kernel_all_threads(isa, "stack", inputs, {{c.shape, dtype}},
                                                {{"axis", double(c.axis)}, {"squeeze", squeeze}});
            EXPECT_TRUE(whole[0].same_bits(x)) << to_string(c.shape);
        }
    });
}

TEST(Movement, StackFillsAbsentInputsWithZeros) {
    for_each_case([&](const std::string& isa, DType dtype) {
        HostTensor x = counting({2, 24}, dtype);
        auto y = run_kernel_all_threads(isa, "stack", {nullptr, &x, nullptr}, {{{2, 3, 24}, dtype}},
                                        {{"axis", 1}, {"squeeze", 1}});
        for (size_t i = 0; i < y[0].size(); i++) {
            size_t b = i / 72, part = i / 24 % 3, c = i % 24;
            EXPECT_EQ(y[0].at(i), part == 1 ? x.at(b * 24 + c) : 0);
        }
    });
}

TEST(Movement, SplitConvertsWhenTypesDiffer) {
    for (const std::string& isa : test_isas()) {
        HostTensor x = counting({3, 2, 5}, DType::f32);
        auto parts = run_kernel_all_threads(isa, "split", {&x}, {{{3, 5}, DType::bf16}, {{3, 5}, DType::f32}},
                                            {{"axis", 1}, {"parts", 2}});
        for (size_t i = 0; i < 15; i++) {
            EXPECT_EQ(parts[0].at(i), x.at(i / 5 * 10 + i % 5));
            EXPECT_EQ(parts[1].at(i), x.at(i / 5 * 10 + 5 + i % 5));
        }
    }
}

TEST(Movement, SliceAndItsGradient) {
    struct Case {
        Shape shape;
        int axis;
        int64_t begin, length;
    };
    const std::vector<Case> cases = {
        {{2, 8, 5, 5}, 1, 0, 4},     {{2, 35, 24}, 1, 30, 5}, {{7}, 0, 3, 1},
        {{3, 50000}, -1, 20001, 29}, {{4, 6}, 1, 0, 6},
    };
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Case& c : cases) {
            size_t axis = size_t(c.axis < 0 ? c.axis + int(c.shape.size()) : c.axis), inner = 1;
            for (size_t d = axis + 1; d < c.shape.size(); d++) inner *= size_t(c.shape[d]);
            Shape part = c.shape;
            part[axis] = c.length;
            HostTensor x = counting(c.shape, dtype);
            Attrs attrs{{"axis", double(c.axis)}, {"begin", double(c.begin)}};
            attrs["length"] = double(c.length);
            auto y = run_kernel_all_threads(isa, "slice", {&x}, {{part, dtype}}, attrs);
            attrs["extent"] = double(c.shape[axis]);
            auto dx = run_kernel_all_threads(isa, "slice_bwd", {&y[0]}, {{c.shape, dtype}}, attrs);
            size_t next = 0;
            for (size_t i = 0; i < x.size(); i++) {
                int64_t at = int64_t(i / inner) % c.shape[axis];
                bool inside = at >= c.begin && at < c.begin + c.length;
                if (inside) {
                    EXPECT_EQ(y[0].at(next++), x.at(i));
                }
                EXPECT_EQ(dx[0].at(i), inside ? x.at(i) : 0);
            }
            EXPECT_EQ(next, y[0].size());
        }
    });
}

TEST(Movement, ReshapeCopiesWhenNotAliased) {
    for_each_case([&](const std::string& isa, DType dtype) {
        HostTensor x = counting({5, 7, 3}, dtype);
        auto y = run_kernel_all_threads(isa, "reshape", {&x}, {{{15, 7}, dtype}}, {{"d0", 15}, {"d1", 7}});
        EXPECT_EQ(y[0].values(), x.values());
    });
}

TEST(Movement, PatchifyAndUnpatchifyAreInverse) {
    struct Case {
        Shape image;
        int64_t patch;
    };
    const std::vector<Case> cases = {{{2, 4, 8, 6}, 2}, {{1, 16, 4, 10}, 2}, {{3, 1, 3, 5}, 1}, {{1, 3, 9, 6}, 3}};
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const auto& [image, p] : cases) {
            for (bool channel_last : {false, true}) {
                int64_t C = image[1], h = image[2], w = image[3], S = h / p * (w / p), F = C * p * p;
                HostTensor x = counting(image, dtype);
                Attrs attrs{{"patch", double(p)}, {"channel_last", double(channel_last)}};
                auto tokens = run_kernel_all_threads(isa, "patchify", {&x}, {{{image[0], S, F}, dtype}}, attrs);
                for (int64_t i = 0; i < numel(image); i++) {
                    int64_t b = i / (C * h * w), c = i / (h * w) % C, y = i / w % h, xx = i % w;
                    int64_t feature = channel_last ? (y % p * p + xx % p) * C + c : (c * p + y % p) * p + xx % p;
                    int64_t token = (b * S + y / p * (w / p) + xx / p) * F + feature;
                    ASSERT_EQ(tokens[0].at(size_t(token)), x.at(size_t(i)));
                }
                attrs["height"] = double(h);
                attrs["width"] = double(w);
                auto back = run_kernel_all_threads(isa, "unpatchify", {&tokens[0]}, {{image, dtype}}, attrs);
                EXPECT_TRUE(back[0].same_bits(x)) << to_string(image);
            }
        }
    });
}

TEST(Movement, ChannelsFirstAndLastAreInverse) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Shape& s : std::vector<Shape>{{2, 3, 8, 5}, {1, 1, 1, 1}, {1, 37, 7, 11}, {2, 64, 9, 8}}) {
            HostTensor x = counting(s, dtype);
            Shape last{s[0], s[2], s[3], s[1]};
            auto y = run_kernel_all_threads(isa, "nchw_to_nhwc", {&x}, {{last, dtype}});
            for (int64_t i = 0; i < numel(s); i++) {
                int64_t pixels = s[2] * s[3], b = i / (s[1] * pixels), c = i / pixels % s[1], p = i % pixels;
                ASSERT_EQ(y[0].at(size_t((b * pixels + p) * s[1] + c)), x.at(size_t(i)));
            }
            auto back = run_kernel_all_threads(isa, "nhwc_to_nchw", {&y[0]}, {{s, dtype}});
            EXPECT_TRUE(back[0].same_bits(x));
        }
    });
}

TEST(Movement, UpsampleRepeatsEachPixelFourTimes) {
    for_each_case([&](const std::string& isa, DType dtype) {
        for (const Shape& s : std::vector<Shape>{{2, 3, 5, 17}, {1, 1, 1, 4}, {1, 7, 2, 32}}) {
            HostTensor x = counting(s, dtype);
            auto y = run_kernel_all_threads(isa, "upsample_nearest", {&x}, {{{s[0], 2 * s[1], 2 * s[2], s[3]}, dtype}});
            for (int64_t i = 0; i < int64_t(y[0].size()); i++) {
                int64_t c = i % s[3], col = i / s[3] % (2 * s[2]),
                        row = i / (s[3] * 2 * s[2]);  // row counts b * 2h + y
                ASSERT_EQ(y[0].at(size_t(i)), x.at(size_t((row / 2 * s[2] + col / 2) * s[3] + c)));
            }
        }
    });
}

}  // namespace
}  // namespace stepd::test
