// The fixed two-dimensional position table of PixArt.
#include <vector>

#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

// Features of the positions along one axis: [length, 2 * quarter], sin(p w_k) and then cos(p w_k). As in diffusers'
// get_2d_sincos_pos_embed, a position p is f32 and the rest is f64.
std::vector<float> axis_features(Pool& pool, int64_t length, int64_t quarter, double base_size, float interpolation) {
    std::vector<float> features(size_t(length * 2 * quarter));
    pool.run(length, [&](int64_t i, int) {
        double position = float(i) / float(double(length) / base_size) / interpolation;
        float* row = &features[size_t(i * 2 * quarter)];
        for (int64_t k = 0; k < quarter; k++) {
            double angle = position * (1.0 / std::pow(10000.0, double(k) / double(quarter)));
            row[k] = float(std::sin(angle));
            row[quarter + k] = float(std::cos(angle));
        }
    });
    return features;
}

}  // namespace

// () {dim, height, width, base_size, interpolation} -> [height*width, dim], tokens row by row. Per token
// sin(x w_k), cos(x w_k), sin(y w_k), cos(y w_k), w_k = 10000^(-k/(dim/4)), k < dim/4. A coordinate spans
// [0, base_size / interpolation) whatever the size of the grid.
void op_position_embedding(const KernelArgs& k) {
    int64_t dim = int64_t(k.attr("dim")), height = int64_t(k.attr("height")), width = int64_t(k.attr("width"));
    double base_size = k.attr("base_size");
    float interpolation = float(k.attr("interpolation"));
    int64_t half = dim / 2;
    std::vector<float> x = axis_features(k.pool, width, dim / 4, base_size, interpolation);
    std::vector<float> y = axis_features(k.pool, height, dim / 4, base_size, interpolation);
    with_types(
        [&](auto* table) {
            k.pool.run(height * width, [&](int64_t token, int) {
                const float *token_x = &x[size_t(token % width * half)], *token_y = &y[size_t(token / width * half)];
                for (int64_t i = 0; i < half; i++) store_scalar(table + token * dim + i, token_x[i]);
                for (int64_t i = 0; i < half; i++) store_scalar(table + token * dim + half + i, token_y[i]);
            });
        },
        k.out[0]);
}

}  // namespace stepd::STEPD_ISA
