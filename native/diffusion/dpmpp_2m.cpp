// DPM-Solver++ of order 2, multistep, midpoint (Lu et al. 2022), as diffusers' DPMSolverMultistepScheduler.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "diffusion/sampler.h"
#include "diffusion/spacing.h"

namespace stepd {

namespace {

// Signal and noise factors of a variance-preserving process at noise level sigma, and half its log-SNR.
struct Level {
    float alpha, sigma, lambda;
};

Level level_at(float sigma) {
    float alpha = 1.0f / std::sqrt(sigma * sigma + 1.0f);
    float scaled = sigma * alpha;
    return {alpha, scaled, std::log(alpha) - std::log(scaled)};
}

class DpmPp2m : public Sampler {
public:
    explicit DpmPp2m(const SamplerOptions& o) : o_(o) {
        STEPD_REQUIRE(o.prediction != Prediction::flow, Code::invalid,
                      "sampler dpmpp_2m does not work with flow-matching models; use flow_euler");
        std::vector<double> t = spread();
        sigmas_ = sampler_sigmas(noise_levels(o.noise), t, o.final_zero);
        timesteps_.assign(t.begin(), t.end());
    }

    void estimate_clean(int index, std::span<const float> prediction, std::span<const float> latents,
                        std::span<float> out) const override {
        Level s = level_at(sigmas_[size_t(index)]);
        for (size_t i = 0; i < out.size(); ++i) {
            out[i] = prediction[i];
            if (o_.prediction == Prediction::epsilon) out[i] = (latents[i] - s.sigma * prediction[i]) / s.alpha;
            if (o_.prediction == Prediction::v_prediction) out[i] = s.alpha * latents[i] - s.sigma * prediction[i];
        }
    }

    void step(int index, std::span<const float> prediction, std::span<float> latents) override {
        std::vector<float> x0(latents.size());
        estimate_clean(index, prediction, latents, x0);
        bool last = index + 1 == int(timesteps_.size());
        bool first_order_end = o_.euler_at_final || (o_.lower_order_final && timesteps_.size() < 15) || o_.final_zero;
        if (previous_.empty() || (last && first_order_end)) {
            first_order(index, x0, latents);
        } else {
            second_order(index, x0, latents);
        }
        previous_ = std::move(x0);
    }

private:
    std::vector<double> spread() const {
        int64_t last = o_.noise.train_timesteps;
        if (o_.spacing.empty() || o_.spacing == "linspace") {
            std::vector<double> t = linspace(0, double(last - 1), o_.steps + 1);
            for (double& v : t) v = std::nearbyint(v);
            std::reverse(t.begin(), t.end());
            t.pop_back();
            return t;
        }
        if (o_.spacing == "leading") {
            std::vector<double> t = leading_timesteps(last / (o_.steps + 1), o_.steps + 1, o_.offset);
            t.pop_back();
            return t;
        }
        if (o_.spacing == "trailing") return trailing_timesteps(last, o_.steps);
        refuse_spacing(o_.spacing);
    }

    void first_order(int index, const std::vector<float>& x0, std::span<float> latents) const {
        Level s = level_at(sigmas_[size_t(index)]), t = level_at(sigmas_[size_t(index) + 1]);
        float keep = t.sigma / s.sigma;
        float move = t.alpha * (std::exp(-(t.lambda - s.lambda)) - 1.0f);
        for (size_t i = 0; i < latents.size(); ++i) latents[i] = keep * latents[i] - move * x0[i];
    }

    void second_order(int index, const std::vector<float>& x0, std::span<float> latents) const {
        Level before = level_at(sigmas_[size_t(index) - 1]);
        Level s = level_at(sigmas_[size_t(index)]), t = level_at(sigmas_[size_t(index) + 1]);
        float h = t.lambda - s.lambda;
        float inverse_ratio = 1.0f / ((s.lambda - before.lambda) / h);
        float keep = t.sigma / s.sigma;
        float move = t.alpha * (std::exp(-h) - 1.0f);
        for (size_t i = 0; i < latents.size(); ++i) {
            float slope = inverse_ratio * (x0[i] - previous_[i]);
            latents[i] = keep * latents[i] - move * x0[i] - 0.5f * move * slope;
        }
    }

    SamplerOptions o_;
    std::vector<float> previous_;  // the predicted x0 of the step before
};

}  // namespace

std::unique_ptr<Sampler> make_dpmpp_2m(const SamplerOptions& options) { return std::make_unique<DpmPp2m>(options); }

}  // namespace stepd
