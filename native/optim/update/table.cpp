// The optimizer table of one instruction set; the only symbol that leaves it (see CMakeLists.txt).
#include "backend/cpu/simd.h"
#include "optim/update/methods.h"

namespace stepd::STEPD_ISA {
namespace {

double sum_squares(const float* x, int64_t n) {
    constexpr int kLanes = 32;  // independent sums, so that the additions overlap
    double sums[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int lane = 0; lane < kLanes; lane++) sums[lane] += double(x[i + lane]) * double(x[i + lane]);
    for (; i < n; i++) sums[i % kLanes] += double(x[i]) * double(x[i]);
    double total = 0;
    for (double s : sums) total += s;
    return total;
}

void scale_clip(const float* x, float* out, int64_t n, float scale, float limit) {
    if (limit > 0)
        for (int64_t i = 0; i < n; i++) {
            float y = scale * x[i];
            y = y < -limit ? -limit : y;
            out[i] = y > limit ? limit : y;
        }
    else
        for (int64_t i = 0; i < n; i++) out[i] = scale * x[i];
}

template <class Weight>
void average_range(float* average, const Weight* weight, int64_t n, float rate) {
    for (int64_t i = 0; i < n; i++) average[i] -= rate * (average[i] - to_float(weight[i]));
}

void average(float* average, const void* weight, DType weight_dtype, int64_t n, float rate) {
    if (weight_dtype == DType::bf16)
        average_range(average, static_cast<const bf16*>(weight), n, rate);
    else
        average_range(average, static_cast<const float*>(weight), n, rate);
}

constinit const OptimizerMethod* const methods[] = {
#define STEPD_OPTIMIZER(name) &name,
#include "optim/optimizers.inc"
#undef STEPD_OPTIMIZER
};
constinit const OptimKernels table = {methods, sum_squares, scale_clip, average};

}  // namespace
}  // namespace stepd::STEPD_ISA

#define STEPD_JOIN_(a, b) a##b
#define STEPD_JOIN(a, b) STEPD_JOIN_(a, b)
extern "C" const stepd::OptimKernels* STEPD_JOIN(stepd_optim_kernels_, STEPD_ISA)() { return &stepd::STEPD_ISA::table; }
