// AdamW whose moments are stored in bf16 with stochastic rounding: half the optimizer memory, f32 arithmetic, both bias
// corrections. (The recipe of the same name in SimpleTuner rounds beta2*v back to v, so that v never decays.)
#include "optim/update/adamw.h"
#include "optim/update/methods.h"

namespace stepd::STEPD_ISA {
namespace {
constexpr StateSpec kState[] = {{"exp_avg", DType::bf16}, {"exp_avg_sq", DType::bf16}};
constexpr OptimizerSetting kSettings[] = {
    {"beta1", 0.9, 0, 1}, {"beta2", 0.999, 0, 1}, {"eps", 1e-6, 0, 1}, {"weight_decay", 1e-2, 0, 1000}};
}  // namespace

constinit const OptimizerMethod adamw_bf16 = {"adamw_bf16", kState, kSettings, adamw_update<bf16>};

}  // namespace stepd::STEPD_ISA
