// Pillow's resampler (src/libImaging/Resample.c): for every output position the filter is sampled at the input
// positions it covers, normalised in double, and rounded to 22-bit fixed point; each pass rounds and clips to 8 bits.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "io/image.h"

namespace stepd {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // two bits of headroom for filters with negative lobes
constexpr int kChannels = 3;

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) {
    x = std::abs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= std::numbers::pi;
    return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
    double (*weight)(double);
    double support;
};

Kernel kernel_of(ResizeFilter filter) {
    switch (filter) {
        case ResizeFilter::box:
            return {box, 0.5};
        case ResizeFilter::bilinear:
            return {bilinear, 1.0};
        case ResizeFilter::bicubic:
            return {bicubic, 2.0};
        case ResizeFilter::lanczos:
            return {lanczos, 3.0};
    }
    STEPD_THROW(Code::invalid, "unknown resize filter ", int(filter));
}

// The inputs of every output position: weights[i * taps ..] apply to inputs first[i] .. first[i] + count[i].
struct Weights {
    int taps = 0;
    std::vector<int> first, count;
    std::vector<int32_t> weights;
};

Weights compute_weights(int in_size, int out_size, const Kernel& kernel) {
    double scale = double(in_size) / out_size, filter_scale = std::max(scale, 1.0);
    double support = kernel.support * filter_scale, inverse = 1.0 / filter_scale;
    Weights result;
    result.taps = int(std::ceil(support)) * 2 + 1;
    result.weights.assign(size_t(result.taps) * size_t(out_size), 0);
    std::vector<double> row(static_cast<size_t>(result.taps));
    for (int i = 0; i < out_size; i++) {
        double center = (i + 0.5) * scale, sum = 0.0;
        int begin = std::max(0, int(center - support + 0.5));
        int count = std::min(in_size, int(center + support + 0.5)) - begin;
        for (int x = 0; x < count; x++) {
            row[size_t(x)] = kernel.weight((x + begin - center + 0.5) * inverse);
            sum += row[size_t(x)];
        }
        for (int x = 0; x < count; x++) {
            double fixed = (sum != 0.0 ? row[size_t(x)] / sum : row[size_t(x)]) * (1 << kPrecisionBits);
            result.weights[size_t(i) * size_t(result.taps) + size_t(x)] = int(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
        }
        result.first.push_back(begin);
        result.count.push_back(count);
    }
    return result;
}

inline uint8_t clip(int sum) { return uint8_t(std::clamp(sum >> kPrecisionBits, 0, 255)); }

[[gnu::always_inline]] inline void horizontal_body(const Image& in, Image& out, const Weights& w) {
    for (int y = 0; y < in.height; y++) {
        const uint8_t* from = in.row(y);
        uint8_t* to = out.row(y);
        for (int x = 0; x < out.width; x++, to += kChannels) {
            const uint8_t* pixel = from + kChannels * w.first[size_t(x)];
            const int32_t* weight = &w.weights[size_t(x) * size_t(w.taps)];
            int red = 1 << (kPrecisionBits - 1), green = red, blue = red;
            for (int t = 0; t < w.count[size_t(x)]; t++, pixel += kChannels) {
                red += pixel[0] * weight[t];
                green += pixel[1] * weight[t];
                blue += pixel[2] * weight[t];
            }
            to[0] = clip(red);
            to[1] = clip(green);
            to[2] = clip(blue);
        }
    }
}

[[gnu::always_inline]] inline void vertical_body(const Image& in, Image& out, const Weights& w, int32_t* sums) {
    int length = in.width * kChannels;
    for (int y = 0; y < out.height; y++) {
        std::fill_n(sums, length, 1 << (kPrecisionBits - 1));
        for (int t = 0; t < w.count[size_t(y)]; t++) {
            const uint8_t* from = in.row(w.first[size_t(y)] + t);
            int32_t weight = w.weights[size_t(y) * size_t(w.taps) + size_t(t)];
            for (int i = 0; i < length; i++) sums[i] += from[i] * weight;
        }
        uint8_t* to = out.row(y);
        for (int i = 0; i < length; i++) to[i] = clip(sums[i]);
    }
}

void horizontal(const Image& in, Image& out, const Weights& w) { horizontal_body(in, out, w); }
void vertical(const Image& in, Image& out, const Weights& w, int32_t* sums) { vertical_body(in, out, w, sums); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] void vertical_avx2(const Image& in, Image& out, const Weights& w, int32_t* sums) {
    vertical_body(in, out, w, sums);
}
#endif

Image resize_width(const Image& image, int width, const Kernel& kernel) {
    Image out(width, image.height);
    horizontal(image, out, compute_weights(image.width, width, kernel));
    return out;
}

Image resize_height(const Image& image, int height, const Kernel& kernel) {
    Image out(image.width, height);
    Weights weights = compute_weights(image.height, height, kernel);
    std::vector<int32_t> sums(size_t(image.width) * kChannels);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        vertical_avx2(image, out, weights, sums.data());
        return out;
    }
#endif
    vertical(image, out, weights, sums.data());
    return out;
}

}  // namespace

Image resize(const Image& image, int width, int height, ResizeFilter filter) {
    constexpr int64_t kMaxPixels = int64_t(1) << 28;
    STEPD_REQUIRE(image.width > 0 && image.height > 0, Code::invalid, "cannot resize an empty picture");
    STEPD_REQUIRE(width > 0 && height > 0 && width <= kMaxPixels / height, Code::invalid, "cannot resize a picture to ",
                  width, " x ", height, " pixels");
    Kernel kernel = kernel_of(filter);
    bool change_width = width != image.width, change_height = height != image.height;
    if (!change_width && !change_height) return image;
    if (!change_height) return resize_width(image, width, kernel);
    if (!change_width) return resize_height(image, height, kernel);
    // The order of the passes changes the result: the vertical one is first where the height shrinks far more.
    int64_t shrink_height = int64_t(image.height) - height, shrink_width = int64_t(image.width) - width;
    if (shrink_height > 0 && shrink_height > 2 * shrink_width) {
        return resize_width(resize_height(image, height, kernel), width, kernel);
    }
    return resize_height(resize_width(image, width, kernel), height, kernel);
}

Image crop(const Image& image, int left, int top, int width, int height) {
    bool inside =
        left >= 0 && top >= 0 && width > 0 && height > 0 && left <= image.width - width && top <= image.height - height;
    STEPD_REQUIRE(inside, Code::invalid, "cannot crop ", width, " x ", height, " pixels at (", left, ", ", top,
                  ") from a picture of ", image.width, " x ", image.height);
    Image out(width, height);
    for (int y = 0; y < height; y++) {
        std::copy_n(image.row(top + y) + kChannels * left, size_t(width) * kChannels, out.row(y));
    }
    return out;
}

Image flip_horizontally(const Image& image) {
    Image out(image.width, image.height);
    for (int y = 0; y < image.height; y++) {
        const uint8_t* from = image.row(y) + size_t(image.width) * kChannels;
        for (int x = 0; x < image.width; x++) std::copy_n(from -= kChannels, kChannels, out.row(y) + kChannels * x);
    }
    return out;
}

ImageSize cover_size(int width, int height, int target_width, int target_height) {
    STEPD_REQUIRE(width > 0 && height > 0 && target_width > 0 && target_height > 0, Code::invalid, "cannot fit ", width,
                  " x ", height, " pixels to ", target_width, " x ", target_height);
    double scale = std::max(double(target_width) / width, double(target_height) / height);
    return {std::max(target_width, int(std::nearbyint(width * scale))),
            std::max(target_height, int(std::nearbyint(height * scale)))};
}

}  // namespace stepd
