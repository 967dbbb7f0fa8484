// A linear guess at the picture behind latents: red, green and blue of a cell are weighted sums of its channels, plus
// constants. The weights come from a least-squares fit to what the autoencoder itself makes of some latents.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/image.h"

namespace stepd {

class LatentRgb {
public:
    // weights: [channels + 1][3], the constants last; colours are 0 to 1.
    LatentRgb(int64_t channels, std::vector<double> weights);

    // latents [C,h,w] of the denoiser -> picture of `factor` pixels a cell.
    Image picture(std::span<const float> latents, int64_t height, int64_t width, int64_t factor) const;

private:
    int64_t channels_;
    std::vector<double> weights_;
};

// Sums are in f64 and in the order of the examples, so equal examples give equal weights.
class LatentRgbFit {
public:
    LatentRgbFit(int64_t channels, int64_t factor);

    // One example: latents [C,h,w] and their picture of h * factor by w * factor pixels.
    void add(std::span<const float> latents, const Image& picture);
    LatentRgb solve() const;

private:
    int64_t channels_, factor_;
    std::vector<double> products_;  // [C+1][C+1], sums of x x^T with x = (channels, 1)
    std::vector<double> colours_;   // [C+1][3], sums of x rgb^T
};

}  // namespace stepd
