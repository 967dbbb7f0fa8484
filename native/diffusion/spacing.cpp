#include "diffusion/spacing.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace stepd {

std::vector<double> linspace(double first, double last, int64_t count) {
    std::vector<double> out(static_cast<size_t>(count), first);
    if (count == 1) return out;
    double step = (last - first) / double(count - 1);
    for (int64_t i = 0; i < count; ++i) out[size_t(i)] = double(i) * step + first;
    out.back() = last;
    return out;
}

std::vector<double> trailing_timesteps(int64_t last, int steps) {
    double ratio = double(last) / steps;
    // As numpy.arange: the length is computed first, so that rounding can add a step.
    int64_t count = int64_t(std::ceil(double(last) / ratio));
    std::vector<double> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(std::nearbyint(double(last) - double(i) * ratio) - 1);
    return out;
}

std::vector<double> leading_timesteps(int64_t ratio, int64_t count, int64_t offset) {
    std::vector<double> out;
    for (int64_t k = count - 1; k >= 0; --k) out.push_back(double(k * ratio + offset));
    return out;
}

void refuse_spacing(const std::string& spacing) {
    STEPD_THROW(Code::unsupported, "timestep_spacing = ", spacing,
                " is not supported, only linspace, leading and trailing");
}

std::vector<float> noise_levels(const NoiseScheduleOptions& options) {
    NoiseSchedule schedule(options);
    std::vector<float> alpha_bar(schedule.alphas_cumprod().begin(), schedule.alphas_cumprod().end());
    if (options.rescale_zero_snr) alpha_bar.back() = std::ldexp(1.0f, -24);
    for (float& a : alpha_bar) a = std::sqrt((1.0f - a) / a);
    return alpha_bar;
}

std::vector<float> sampler_sigmas(const std::vector<float>& levels, const std::vector<double>& timesteps,
                                  bool final_zero) {
    std::vector<float> out;
    double last = double(levels.size() - 1);
    for (double t : timesteps) {
        double at = std::clamp(t, 0.0, last);
        size_t low = size_t(std::min(std::floor(at), last - 1));
        double slope = double(levels[low + 1]) - double(levels[low]);
        out.push_back(float(slope * (at - double(low)) + double(levels[low])));
    }
    out.push_back(final_zero ? 0.0f : levels[0]);
    return out;
}

}  // namespace stepd
