#include "train/latent_rgb.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace stepd {
namespace {

// Relative to the mean of the diagonal: decides where examples leave a direction open (a channel that never changes),
// and is far below what 8-bit colours show elsewhere.
constexpr double kRidge = 1e-9;

// Solves a x = b for symmetric positive definite a [n][n] and b [n][columns], in place, by Cholesky's method.
void solve_in_place(std::vector<double>& a, std::vector<double>& b, size_t n, size_t columns) {
    for (size_t j = 0; j < n; j++) {
        for (size_t k = 0; k < j; k++) a[j * n + j] -= a[j * n + k] * a[j * n + k];
        a[j * n + j] = std::sqrt(a[j * n + j]);
        for (size_t i = j + 1; i < n; i++) {
            for (size_t k = 0; k < j; k++) a[i * n + j] -= a[i * n + k] * a[j * n + k];
            a[i * n + j] /= a[j * n + j];
        }
    }
    for (size_t c = 0; c < columns; c++) {
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < i; k++) b[i * columns + c] -= a[i * n + k] * b[k * columns + c];
            b[i * columns + c] /= a[i * n + i];
        }
        for (size_t i = n; i-- > 0;) {
            for (size_t k = i + 1; k < n; k++) b[i * columns + c] -= a[k * n + i] * b[k * columns + c];
            b[i * columns + c] /= a[i * n + i];
        }
    }
}

// Mean colour of the pixels of cell (y, x), 0 to 1.
std::array<double, 3> mean_colour(const Image& picture, int64_t y, int64_t x, int64_t factor) {
    std::array<int64_t, 3> sum{};
    for (int64_t v = 0; v < factor; v++) {
        const uint8_t* pixel = picture.row(int(y * factor + v)) + 3 * x * factor;
        for (int64_t u = 0; u < factor; u++)
            for (size_t c = 0; c < 3; c++) sum[c] += *pixel++;
    }
    const double all = 255.0 * double(factor * factor);
    return {double(sum[0]) / all, double(sum[1]) / all, double(sum[2]) / all};
}

}  // namespace

LatentRgb::LatentRgb(int64_t channels, std::vector<double> weights)
    : channels_(channels), weights_(std::move(weights)) {}

Image LatentRgb::picture(std::span<const float> latents, int64_t height, int64_t width, int64_t factor) const {
    const size_t plane = size_t(height * width);
    Image cells{int(width), int(height)};
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) {
            double value = weights_[size_t(channels_) * 3 + c];
            for (size_t k = 0; k < size_t(channels_); k++)
                value += weights_[k * 3 + c] * double(latents[k * plane + i]);
            value = value > 0 ? std::min(value, 1.0) : 0;  // NaN is black
            cells.pixels[3 * i + c] = uint8_t(std::nearbyint(value * 255));
        }
    return resize(cells, int(width * factor), int(height * factor), ResizeFilter::bicubic);
}

LatentRgbFit::LatentRgbFit(int64_t channels, int64_t factor)
    : channels_(channels),
      factor_(factor),
      products_(size_t((channels + 1) * (channels + 1))),
      colours_(size_t((channels + 1) * 3)) {}

void LatentRgbFit::add(std::span<const float> latents, const Image& picture) {
    const int64_t height = picture.height / factor_, width = picture.width / factor_;
    const size_t n = size_t(channels_ + 1), plane = size_t(height * width);
    STEPD_CHECK(latents.size() == size_t(channels_) * plane, latents.size(), " latents for a picture of ",
                picture.width, "x", picture.height);
    std::vector<double> x(n, 1.0);
    for (size_t i = 0; i < plane; i++) {
        for (size_t k = 0; k + 1 < n; k++) x[k] = double(latents[k * plane + i]);
        const auto colour = mean_colour(picture, int64_t(i) / width, int64_t(i) % width, factor_);
        for (size_t k = 0; k < n; k++) {
            for (size_t j = 0; j < n; j++) products_[k * n + j] += x[k] * x[j];
            for (size_t c = 0; c < 3; c++) colours_[k * 3 + c] += x[k] * colour[c];
        }
    }
}

LatentRgb LatentRgbFit::solve() const {
    const size_t n = size_t(channels_ + 1);
    std::vector<double> a = products_, b = colours_;
    double trace = 0;
    for (size_t k = 0; k < n; k++) trace += a[k * n + k];
    STEPD_REQUIRE(std::isfinite(trace) && trace > 0, Code::numeric,
                  "the latents that previews are fitted to are not finite");
    for (size_t k = 0; k < n; k++) a[k * n + k] += kRidge * trace / double(n);
    solve_in_place(a, b, n, 3);
    return LatentRgb(channels_, std::move(b));
}

}  // namespace stepd
