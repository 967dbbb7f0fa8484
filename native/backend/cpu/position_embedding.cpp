// The fixed two-dimensional position table of PixArt.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// () {dim, height, width, base_size, interpolation} -> [height*width, dim] f32, tokens row by row. Per token
// sin(x w_k), cos(x w_k), sin(y w_k), cos(y w_k), w_k = 10000^(-k/(dim/4)), k < dim/4. A coordinate spans
// [0, base_size / interpolation) whatever the size of the grid. As in diffusers' get_2d_sincos_pos_embed, coordinates
// are f32 and the rest is f64.
void op_position_embedding(const KernelArgs& k) {
    int64_t dim = int64_t(k.attr("dim")), height = int64_t(k.attr("height")), width = int64_t(k.attr("width"));
    double base_size = k.attr("base_size");
    float interpolation = float(k.attr("interpolation"));
    int64_t quarter = dim / 4;
    with_types(
        [&](auto* y) {
            k.pool.run(height, [&](int64_t row, int) {
                float pos_y = float(row) / float(double(height) / base_size) / interpolation;
                for (int64_t col = 0; col < width; col++) {
                    float pos_x = float(col) / float(double(width) / base_size) / interpolation;
                    auto* token = y + (row * width + col) * dim;
                    for (int64_t i = 0; i < quarter; i++) {
                        double omega = 1.0 / std::pow(10000.0, double(i) / (double(dim) / 4));
                        store_scalar(token + i, float(std::sin(double(pos_x) * omega)));
                        store_scalar(token + quarter + i, float(std::cos(double(pos_x) * omega)));
                        store_scalar(token + 2 * quarter + i, float(std::sin(double(pos_y) * omega)));
                        store_scalar(token + 3 * quarter + i, float(std::cos(double(pos_y) * omega)));
                    }
                }
            });
        },
        k.out[0]);
}

}  // namespace stepd::STEPD_ISA
