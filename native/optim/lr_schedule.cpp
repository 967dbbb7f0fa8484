#include "optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace stepd {
namespace {

double or_default(double value, double fallback) { return value != 0 ? value : fallback; }

// A factor that falls from 1 to 0, stretched so that the rate falls to lr_end.
double to_end(const LearningRateSchedule& s, double base_lr, double factor) {
    if (s.lr_end == 0) return factor;
    return factor + (1 - factor) * s.lr_end / base_lr;
}

// The part after the warm-up, as a factor of the base rate.
double decay(const LearningRateSchedule& s, double base_lr, int64_t step) {
    if (s.name == "constant_with_warmup") return 1;
    const double span = double(std::max<int64_t>(1, s.steps - s.warmup));
    if (s.name == "linear") return std::max(0.0, double(s.steps - step) / span);
    const double progress = double(step - s.warmup) / span;
    if (s.name == "cosine")
        return to_end(s, base_lr,
                      std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * or_default(s.cycles, 0.5) * 2 * progress))));
    if (s.name == "cosine_with_restarts") {
        if (progress >= 1) return to_end(s, base_lr, 0);
        const double turn = std::fmod(or_default(s.cycles, 1) * progress, 1.0);
        return to_end(s, base_lr, std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * turn))));
    }
    if (step > s.steps) return s.lr_end / base_lr;
    return ((base_lr - s.lr_end) * std::pow(1 - progress, or_default(s.power, 1)) + s.lr_end) / base_lr;  // polynomial
}

}  // namespace

void check(const LearningRateSchedule& s, double base_lr) {
    const char* const names[] = {"constant", "constant_with_warmup", "linear",
                                 "cosine",   "cosine_with_restarts", "polynomial"};
    STEPD_REQUIRE(std::find(std::begin(names), std::end(names), s.name) != std::end(names), Code::unsupported,
                  "schedule.name \"", s.name,
                  "\" is not one of constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial");
    STEPD_REQUIRE(s.warmup >= 0, Code::invalid, "schedule.warmup = ", s.warmup, " is negative");
    if (s.name == "constant" || s.name == "constant_with_warmup") return;
    STEPD_REQUIRE(s.steps > 0, Code::invalid, "schedule.steps = ", s.steps, ": the ", s.name,
                  " schedule needs the number of optimizer steps of the run");
    STEPD_REQUIRE(s.cycles >= 0, Code::invalid, "schedule.cycles = ", s.cycles, " is negative");
    STEPD_REQUIRE(s.power >= 0, Code::invalid, "schedule.power = ", s.power, " is negative");
    if (s.name != "polynomial")
        STEPD_REQUIRE(s.lr_end >= 0 && s.lr_end <= base_lr, Code::invalid, "schedule.lr_end = ", s.lr_end,
                      " must be at least 0 and not above optimizer.lr = ", base_lr);
    else
        STEPD_REQUIRE(s.lr_end >= 0 && s.lr_end < base_lr, Code::invalid, "schedule.lr_end = ", s.lr_end,
                      " must be at least 0 and below optimizer.lr = ", base_lr);
}

double learning_rate(const LearningRateSchedule& s, double base_lr, int64_t step) {
    if (s.name == "constant") return base_lr;
    if (step < s.warmup) return base_lr * (double(step) / double(std::max<int64_t>(1, s.warmup)));
    return base_lr * decay(s, base_lr, step);
}

}  // namespace stepd
