// Sinusoidal embedding of the timestep.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (t[B] f32) {dim} -> [B,dim] f32: cos(t f_k), then sin(t f_k), f_k = 10000^(-k/(dim/2)). Each step is rounded to f32
// as diffusers' get_timestep_embedding does: the angle reaches 1000, where the last bit of f_k shows. An odd dim ends
// in 0.
void op_timestep_embedding(const KernelArgs& k) {
    int64_t dim = k.out[0].dim(-1), half = dim / 2;
    const float* t = k.in[0].f32();
    with_types(
        [&](auto* y) {
            for (int64_t b = 0; b < k.in[0].numel(); b++) {
                auto* row = y + b * dim;
                for (int64_t i = 0; i < half; i++) {
                    float angle = t[b] * std::exp(float(-std::log(10000.0)) * float(i) / float(half));
                    store_scalar(row + i, std::cos(angle));
                    store_scalar(row + half + i, std::sin(angle));
                }
                if (dim % 2) store_scalar(row + dim - 1, 0.f);
            }
        },
        k.out[0]);
}

}  // namespace stepd::STEPD_ISA
