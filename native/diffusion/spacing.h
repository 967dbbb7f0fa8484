// How samplers on a DDPM schedule spread their steps over its timesteps (Lin et al. 2023, table 2).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion/noise_schedule.h"

namespace stepd {

// numpy.linspace in double: `count` values from `first` to `last`.
std::vector<double> linspace(double first, double last, int64_t count);

// round(arange(last, 0, -last / steps)) - 1, halves rounded to even as numpy does.
std::vector<double> trailing_timesteps(int64_t last, int steps);

// k * ratio + offset for k = count-1 .. 0.
std::vector<double> leading_timesteps(int64_t ratio, int64_t count, int64_t offset);

[[noreturn]] void refuse_spacing(const std::string& spacing);

// Noise level sqrt((1 - alpha_bar) / alpha_bar) of every timestep in float32. With zero terminal SNR the last alpha_bar
// becomes 2^-24 so that the level stays finite.
std::vector<float> noise_levels(const NoiseScheduleOptions& options);

// Noise levels at `timesteps`, interpolated linearly, and the final one: zero, or that of timestep 0.
std::vector<float> sampler_sigmas(const std::vector<float>& levels, const std::vector<double>& timesteps,
                                  bool final_zero);

}  // namespace stepd
