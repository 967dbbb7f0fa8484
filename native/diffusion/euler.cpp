// Euler's method on the probability-flow equation (Karras et al. 2022), as diffusers' EulerDiscreteScheduler.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "diffusion/sampler.h"
#include "diffusion/spacing.h"

namespace stepd {

namespace {

class Euler : public Sampler {
public:
    explicit Euler(const SamplerOptions& o) : o_(o) {
        STEPD_REQUIRE(o.prediction != Prediction::flow, Code::invalid,
                      "sampler euler does not work with flow-matching models; use flow_euler");
        std::vector<double> t = spread();
        sigmas_ = sampler_sigmas(noise_levels(o.noise), t, o.final_zero);
        timesteps_.assign(t.begin(), t.end());
    }

    float initial_scale() const override {
        float largest = *std::max_element(sigmas_.begin(), sigmas_.end());
        return o_.spacing == "leading" ? std::sqrt(largest * largest + 1.0f) : largest;
    }

    void scale_input(int index, std::span<const float> latents, std::span<float> out) const override {
        float sigma = sigmas_[size_t(index)];
        float divisor = std::sqrt(sigma * sigma + 1.0f);
        for (size_t i = 0; i < out.size(); ++i) out[i] = latents[i] / divisor;
    }

    void estimate_clean(int index, std::span<const float> prediction, std::span<const float> latents,
                        std::span<float> out) const override {
        float sigma = sigmas_[size_t(index)];
        float variance = sigma * sigma + 1.0f;
        float output_factor = -sigma / std::sqrt(variance);
        for (size_t i = 0; i < out.size(); ++i) {
            out[i] = prediction[i];
            if (o_.prediction == Prediction::epsilon) out[i] = latents[i] - sigma * prediction[i];
            if (o_.prediction == Prediction::v_prediction)
                out[i] = prediction[i] * output_factor + latents[i] / variance;
        }
    }

    void step(int index, std::span<const float> prediction, std::span<float> latents) override {
        float sigma = sigmas_[size_t(index)];
        float dt = sigmas_[size_t(index) + 1] - sigma;
        std::vector<float> x0(latents.size());
        estimate_clean(index, prediction, latents, x0);
        for (size_t i = 0; i < latents.size(); ++i) {
            float derivative = (latents[i] - x0[i]) / sigma;
            latents[i] = latents[i] + derivative * dt;
        }
    }

private:
    // Timesteps are float32 and may lie between two of the schedule.
    std::vector<double> spread() const {
        int64_t last = o_.noise.train_timesteps;
        if (o_.spacing.empty() || o_.spacing == "linspace") {
            std::vector<double> t = linspace(0, double(last - 1), o_.steps);
            for (double& v : t) v = double(float(v));
            std::reverse(t.begin(), t.end());
            return t;
        }
        if (o_.spacing == "leading") return leading_timesteps(last / o_.steps, o_.steps, o_.offset);
        if (o_.spacing == "trailing") return trailing_timesteps(last, o_.steps);
        refuse_spacing(o_.spacing);
    }

    SamplerOptions o_;
};

}  // namespace

std::unique_ptr<Sampler> make_euler(const SamplerOptions& options) { return std::make_unique<Euler>(options); }

}  // namespace stepd
