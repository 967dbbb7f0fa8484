// AdamW with f32 state. f32 weights follow torch.optim.AdamW; bf16 weights are rounded stochastically.
#include "optim/update/adamw.h"

#include "optim/update/methods.h"

namespace stepd::STEPD_ISA {
namespace {
constexpr StateSpec kState[] = {{"exp_avg", DType::f32}, {"exp_avg_sq", DType::f32}};
constexpr OptimizerSetting kSettings[] = {
    {"beta1", 0.9, 0, 1}, {"beta2", 0.999, 0, 1}, {"eps", 1e-8, 0, 1}, {"weight_decay", 1e-2, 0, 1000}};
}  // namespace

constinit const OptimizerMethod adamw = {"adamw", kState, kSettings, adamw_update<float>};

}  // namespace stepd::STEPD_ISA
