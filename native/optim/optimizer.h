// Optimizers: what each one keeps for a parameter and how it updates it. A method is one file in update/ (compiled once
// per instruction set) and one line in optimizers.inc.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"

namespace stepd {

// A tensor that a method keeps for every parameter, of the parameter's shape, zero before the first step.
struct StateSpec {
    const char* name;
    DType dtype;
};

// A number that a job may set.
struct OptimizerSetting {
    const char* name;
    double value;      // default
    double low, high;  // allowed range, high excluded
};

constexpr int kMaxOptimizerState = 4;
constexpr int kMaxOptimizerSettings = 8;

// Elements [begin, begin + count) of one parameter; every pointer addresses element `begin`.
struct UpdateRange {
    void* weight;
    DType weight_dtype;
    const float* gradient;  // scaled and clipped
    void* state[kMaxOptimizerState];
    int64_t begin, count;
    uint64_t key;  // of the counter generator for stochastic rounding: differs per run, step and parameter
};

struct UpdateContext {
    const double* settings;  // in the order of OptimizerMethod::settings
    int64_t step;            // 1 for the first
    double lr;
};

struct OptimizerMethod {
    const char* name;
    std::span<const StateSpec> state;
    std::span<const OptimizerSetting> settings;
    void (*update)(const UpdateRange& range, const UpdateContext& context);  // called from many threads
};

// Loops over parameters of one instruction set.
struct OptimKernels {
    std::span<const OptimizerMethod* const> methods;
    double (*sum_squares)(const float* x, int64_t n);  // in f64, in a fixed order
    // out = clamp(scale * x, -limit, limit); limit 0: no clamp.
    void (*scale_clip)(const float* x, float* out, int64_t n, float scale, float limit);
    // average -= rate * (average - weight)
    void (*average)(float* average, const void* weight, DType weight_dtype, int64_t n, float rate);
};

// The table for the instruction set of the CPU backend (backend/cpu.h).
const OptimKernels& optim_kernels();

// Throws Code::unsupported listing the methods that there are.
const OptimizerMethod& find_optimizer(const std::string& name);

// Defaults overridden by `params`. Throws Code::invalid naming an unknown setting or one out of range.
std::vector<double> optimizer_settings(const OptimizerMethod& method, const std::map<std::string, double>& params);

}  // namespace stepd

extern "C" {
const stepd::OptimKernels* stepd_optim_kernels_avx2();
const stepd::OptimKernels* stepd_optim_kernels_avx512();
const stepd::OptimKernels* stepd_optim_kernels_amx();
}
