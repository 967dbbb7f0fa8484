#include "diffusion/loss_terms.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace stepd {

float min_snr_weight(Prediction prediction, float snr, double gamma) {
    if (gamma <= 0) return 1.0f;
    float bounded = std::min(snr, float(gamma));
    switch (prediction) {
        case Prediction::epsilon:
            STEPD_REQUIRE(snr > 0, Code::invalid,
                          "loss.snr_gamma: the weight of a timestep without signal is not defined "
                          "for prediction epsilon; use v_prediction with rescale_betas_zero_snr");
            return bounded / snr;
        case Prediction::v_prediction:
            return bounded / (snr + 1.0f);
        case Prediction::sample:
            return bounded;
        case Prediction::flow:
            break;
    }
    STEPD_THROW(Code::invalid, "loss.snr_gamma is not defined for flow matching; set it to 0");
}

HuberSchedule parse_huber_schedule(const std::string& name) {
    if (name == "constant") return HuberSchedule::constant;
    if (name == "exponential") return HuberSchedule::exponential;
    if (name == "snr") return HuberSchedule::snr;
    STEPD_THROW(Code::invalid, "loss.huber_schedule \"", name, "\" is unknown; there is: constant, exponential, snr");
}

float huber_c(HuberSchedule schedule, double c, double time, double noise_level) {
    switch (schedule) {
        case HuberSchedule::constant:
            return float(c);
        case HuberSchedule::exponential:
            return float(std::pow(c, time));
        case HuberSchedule::snr:
            return float((1 - c) / ((1 + noise_level) * (1 + noise_level)) + c);
    }
    STEPD_THROW(Code::internal, "huber schedule ", int(schedule));
}

double flow_noise_level(double sigma) { return std::sqrt(sigma / (1 - sigma + 1e-4)); }

}  // namespace stepd
