// Euler's method for flow matching, as diffusers' FlowMatchEulerDiscreteScheduler.
#include "base/error.h"
#include "diffusion/sampler.h"
#include "diffusion/spacing.h"

namespace stepd {

namespace {

class FlowEuler : public Sampler {
public:
    explicit FlowEuler(const SamplerOptions& o) {
        STEPD_REQUIRE(o.prediction == Prediction::flow, Code::invalid,
                      "sampler flow_euler works with flow-matching models only, "
                      "this one predicts ",
                      name_of(o.prediction));
        STEPD_REQUIRE(!o.flow.dynamic || o.image_tokens > 0, Code::invalid,
                      "sampler flow_euler: dynamic shifting needs the number of image tokens");
        for (double sigma : unshifted(o)) {
            sigmas_.push_back(float(o.flow.apply(sigma, o.image_tokens)));
            timesteps_.push_back(sigmas_.back() * float(o.flow.train_timesteps));
        }
        sigmas_.push_back(0.0f);
    }

    void estimate_clean(int index, std::span<const float> prediction, std::span<const float> latents,
                        std::span<float> out) const override {
        for (size_t i = 0; i < out.size(); ++i) out[i] = latents[i] - sigmas_[size_t(index)] * prediction[i];
    }

    void step(int index, std::span<const float> prediction, std::span<float> latents) override {
        float dt = sigmas_[size_t(index) + 1] - sigmas_[size_t(index)];
        for (size_t i = 0; i < latents.size(); ++i) latents[i] = latents[i] + dt * prediction[i];
    }

private:
    // For a number of steps diffusers walks from the largest to the smallest level of the static schedule, which is
    // shifted already, and shifts once more. Pipelines with dynamic shifting pass linspace(1, 1/n) instead.
    static std::vector<double> unshifted(const SamplerOptions& o) {
        if (o.flow.dynamic || !o.sigmas_by_count) return linspace(1.0, 1.0 / o.steps, o.steps);
        float smallest = 1.0f / float(o.flow.train_timesteps);
        float shift = float(o.flow.shift);
        double first = double(shift / (1.0f + (shift - 1.0f)));
        double last = double(shift * smallest / (1.0f + (shift - 1.0f) * smallest));
        double scale = double(o.flow.train_timesteps);
        std::vector<double> t = linspace(first * scale, last * scale, o.steps);
        for (double& v : t) v /= scale;
        return t;
    }
};

}  // namespace

std::unique_ptr<Sampler> make_flow_euler(const SamplerOptions& options) { return std::make_unique<FlowEuler>(options); }

}  // namespace stepd
