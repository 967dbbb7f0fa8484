// DDIM without added noise (Song et al. 2020), as diffusers' DDIMScheduler with eta = 0.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "diffusion/sampler.h"
#include "diffusion/spacing.h"

namespace stepd {

namespace {

class Ddim : public Sampler {
public:
    explicit Ddim(const SamplerOptions& o) : o_(o) {
        STEPD_REQUIRE(o.prediction != Prediction::flow, Code::invalid,
                      "sampler ddim does not work with flow-matching models; use flow_euler");
        STEPD_REQUIRE(o.steps <= o.noise.train_timesteps, Code::invalid, "sampler ddim: ", o.steps,
                      " steps, the schedule has only ", o.noise.train_timesteps);
        std::vector<double> t = spread();
        timesteps_.assign(t.begin(), t.end());
        NoiseSchedule schedule(o.noise);
        alpha_bar_.assign(schedule.alphas_cumprod().begin(), schedule.alphas_cumprod().end());
    }

    void estimate_clean(int index, std::span<const float> prediction, std::span<const float> latents,
                        std::span<float> out) const override {
        float a = alpha_bar_[size_t(timesteps_[size_t(index)])];
        for (size_t i = 0; i < out.size(); ++i)
            out[i] = parts(prediction[i], latents[i], std::sqrt(a), std::sqrt(1.0f - a)).first;
    }

    void step(int index, std::span<const float> prediction, std::span<float> latents) override {
        int64_t t = int64_t(timesteps_[size_t(index)]);
        int64_t before = t - o_.noise.train_timesteps / o_.steps;
        float a = alpha_bar_[size_t(t)];
        float a_before = before >= 0 ? alpha_bar_[size_t(before)] : o_.alpha_to_one ? 1.0f : alpha_bar_[0];
        float signal = std::sqrt(a), noise = std::sqrt(1.0f - a);
        float signal_before = std::sqrt(a_before), noise_before = std::sqrt(1.0f - a_before);
        for (size_t i = 0; i < latents.size(); ++i) {
            auto [x0, epsilon] = parts(prediction[i], latents[i], signal, noise);
            latents[i] = signal_before * x0 + noise_before * epsilon;
        }
    }

private:
    std::vector<double> spread() const {
        int64_t last = o_.noise.train_timesteps;
        std::vector<double> t;
        if (o_.spacing == "linspace") {
            t = linspace(0, double(last - 1), o_.steps);
            for (double& v : t) v = std::nearbyint(v);
            std::reverse(t.begin(), t.end());
        } else if (o_.spacing.empty() || o_.spacing == "leading") {
            t = leading_timesteps(last / o_.steps, o_.steps, o_.offset);
        } else if (o_.spacing == "trailing") {
            t = trailing_timesteps(last, o_.steps);
        } else {
            refuse_spacing(o_.spacing);
        }
        STEPD_REQUIRE(t.front() < double(last), Code::invalid, "steps_offset = ", o_.offset,
                      " moves the first timestep past the schedule");
        return t;
    }

    // The x0, clipped where that is asked for, and the noise that a prediction stands for.
    std::pair<float, float> parts(float prediction, float x, float signal, float noise) const {
        float x0, epsilon;
        switch (o_.prediction) {
            case Prediction::v_prediction:
                x0 = signal * x - noise * prediction;
                epsilon = signal * prediction + noise * x;
                break;
            case Prediction::sample:
                x0 = prediction;
                epsilon = (x - signal * prediction) / noise;
                break;
            default:
                x0 = (x - noise * prediction) / signal;
                epsilon = prediction;
        }
        float range = float(o_.clip_range);
        return {o_.clip_sample ? std::clamp(x0, -range, range) : x0, epsilon};
    }

    SamplerOptions o_;
    std::vector<float> alpha_bar_;
};

}  // namespace

std::unique_ptr<Sampler> make_ddim(const SamplerOptions& options) { return std::make_unique<Ddim>(options); }

}  // namespace stepd
