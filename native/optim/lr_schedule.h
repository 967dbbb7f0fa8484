// Learning-rate schedules of diffusers.optimization.get_scheduler, whose cosines end at 0; here they may end at lr_end.
#pragma once

#include <cstdint>
#include <string>

namespace stepd {

struct LearningRateSchedule {
    // constant, constant_with_warmup, linear, cosine, cosine_with_restarts or polynomial.
    std::string name = "constant";
    int64_t warmup = 0;  // optimizer steps
    int64_t steps = 0;   // length of the whole run, for all but the first two
    double cycles = 0;   // 0: 0.5 for cosine, 1 with restarts
    double power = 0;    // 0: 1; polynomial only
    double lr_end = 0;   // where cosine, cosine_with_restarts and polynomial end
};

// Throws Code::invalid or Code::unsupported naming the field.
void check(const LearningRateSchedule& schedule, double base_lr);

// The rate that optimizer step `step` uses; 0 for the first.
double learning_rate(const LearningRateSchedule& schedule, double base_lr, int64_t step);

}  // namespace stepd
