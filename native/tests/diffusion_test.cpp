// Schedules, loss terms and samplers. Their numbers are compared with diffusers in models_test.cpp (MatchReference).
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "diffusion/loss_terms.h"
#include "diffusion/sampler.h"
#include "tests/expect_error.h"

namespace stepd {
namespace {

TEST(NoiseSchedule, KnownValuesOfTheLinearSchedule) {
    NoiseSchedule schedule{NoiseScheduleOptions{}};
    EXPECT_FLOAT_EQ(schedule.alphas_cumprod()[0], 0.9999f);
    EXPECT_NEAR(schedule.alphas_cumprod()[499], 0.0785872, 1e-6);
    EXPECT_NEAR(schedule.alphas_cumprod()[999], 4.03583e-5, 1e-9);
    EXPECT_NEAR(schedule.sigma(999), 157.407, 1e-3);
    EXPECT_NEAR(schedule.snr(499) * schedule.sigma(499) * schedule.sigma(499), 1, 1e-6);
}

TEST(NoiseSchedule, ZeroTerminalSnrEndsInPureNoise) {
    NoiseScheduleOptions options;
    options.rescale_zero_snr = true;
    NoiseSchedule schedule(options);
    EXPECT_EQ(schedule.alphas_cumprod().back(), 0);
    EXPECT_EQ(schedule.snr(999), 0);
    std::vector<float> x0{1, -2}, noise{3, 5}, out(2);
    schedule.add_noise(999, x0, noise, out);
    EXPECT_EQ(out, noise);
    schedule.target(Prediction::v_prediction, 999, x0, noise, out);
    EXPECT_EQ(out, (std::vector<float>{-1, 2}));
}

TEST(NoiseSchedule, Targets) {
    NoiseSchedule schedule{NoiseScheduleOptions{}};
    std::vector<float> x0{1, -2}, noise{3, 5}, out(2);
    schedule.target(Prediction::epsilon, 10, x0, noise, out);
    EXPECT_EQ(out, noise);
    schedule.target(Prediction::sample, 10, x0, noise, out);
    EXPECT_EQ(out, x0);
    expect_contains(message_of(Code::invalid, [&] { schedule.target(Prediction::flow, 10, x0, noise, out); }), "flow");
    expect_contains(message_of(Code::invalid, [&] { schedule.add_noise(1000, x0, noise, out); }), "1000");
    expect_contains(message_of(Code::invalid, [&] { schedule.snr(-1); }), "-1");
}

TEST(NoiseSchedule, RefusesWhatItLacks) {
    auto build = [](const nlohmann::json& json) { NoiseSchedule schedule(NoiseScheduleOptions::from_json(json)); };
    expect_contains(message_of(Code::unsupported,
                               [&] {
                                   build({{"beta_schedule", "squaredcos_cap_v2"}});
                               }),
                    "squaredcos_cap_v2");
    expect_contains(message_of(Code::unsupported, [&] { build({{"trained_betas", {0.1, 0.2}}}); }), "trained_betas");
    expect_contains(message_of(Code::invalid, [&] { build({{"beta_start", 0.5}, {"beta_end", 0.1}}); }), "beta_start");
    expect_contains(message_of(Code::invalid, [&] { build({{"num_train_timesteps", 1}}); }), "num_train_timesteps");
}

TEST(Prediction, FromTheScheduler) {
    EXPECT_EQ(scheduler_prediction({{"_class_name", "FlowMatchEulerDiscreteScheduler"}}), Prediction::flow);
    EXPECT_EQ(scheduler_prediction({{"_class_name", "DDIMScheduler"}}), Prediction::epsilon);
    EXPECT_EQ(scheduler_prediction({{"prediction_type", "v_prediction"}}), Prediction::v_prediction);
    for (const char* name : {"epsilon", "v_prediction", "sample", "flow"})
        EXPECT_STREQ(name_of(parse_prediction(name)), name);
    expect_contains(message_of(Code::invalid, [] { parse_prediction("eps"); }), "epsilon");
}

TEST(Flow, InterpolatesAndShifts) {
    std::vector<float> x0{1, 2}, noise{3, -2}, out(2);
    flow_interpolate(0.25f, x0, noise, out);
    EXPECT_EQ(out, (std::vector<float>{1.5f, 1.0f}));
    flow_target(x0, noise, out);
    EXPECT_EQ(out, (std::vector<float>{2, -4}));
    FlowShift shift;
    EXPECT_EQ(shift.apply(0.5, 0), 0.5);
    shift.shift = 3;
    EXPECT_EQ(shift.apply(0.5, 0), 0.75);
    shift.dynamic = true;
    EXPECT_NEAR(shift.mu(256), 0.5, 1e-12);
    EXPECT_NEAR(shift.mu(4096), 1.15, 1e-12);
    EXPECT_NEAR(shift.apply(0.5, 4096), 1 / (1 + std::exp(-1.15)), 1e-12);
    EXPECT_EQ(shift.apply(1.0, 4096), 1);
}

TEST(LossTerms, MinSnr) {
    EXPECT_EQ(min_snr_weight(Prediction::epsilon, 20, 5), 0.25f);
    EXPECT_EQ(min_snr_weight(Prediction::epsilon, 2, 5), 1);
    EXPECT_EQ(min_snr_weight(Prediction::v_prediction, 4, 5), 0.8f);
    EXPECT_EQ(min_snr_weight(Prediction::v_prediction, 0, 5), 0);
    EXPECT_EQ(min_snr_weight(Prediction::sample, 9, 5), 5);
    EXPECT_EQ(min_snr_weight(Prediction::flow, 9, 0), 1);
    expect_contains(message_of(Code::invalid, [] { min_snr_weight(Prediction::flow, 9, 5); }), "snr_gamma");
    expect_contains(message_of(Code::invalid, [] { min_snr_weight(Prediction::epsilon, 0, 5); }), "v_prediction");
}

TEST(LossTerms, HuberSchedules) {
    EXPECT_EQ(huber_c(parse_huber_schedule("constant"), 0.1, 0.7, 3), 0.1f);
    EXPECT_EQ(huber_c(parse_huber_schedule("exponential"), 0.1, 0, 3), 1);
    EXPECT_FLOAT_EQ(huber_c(parse_huber_schedule("exponential"), 0.1, 1, 3), 0.1f);
    EXPECT_FLOAT_EQ(huber_c(parse_huber_schedule("snr"), 0.1, 0.5, 0), 1);
    EXPECT_FLOAT_EQ(huber_c(parse_huber_schedule("snr"), 0.1, 0.5, 2), 0.2f);
    EXPECT_NEAR(flow_noise_level(0.5), 1, 1e-4);
    EXPECT_TRUE(std::isfinite(flow_noise_level(1)));
    expect_contains(message_of(Code::invalid, [] { parse_huber_schedule("linear"); }), "huber_schedule");
}

TEST(Sampler, FollowsTheFolder) {
    EXPECT_EQ(default_sampler({{"_class_name", "DPMSolverMultistepScheduler"}}), "dpmpp_2m");
    EXPECT_EQ(default_sampler({{"_class_name", "DDIMScheduler"}}), "ddim");
    EXPECT_EQ(default_sampler({{"_class_name", "EulerDiscreteScheduler"}}), "euler");
    EXPECT_EQ(default_sampler({{"_class_name", "FlowMatchEulerDiscreteScheduler"}}), "flow_euler");
    expect_contains(message_of(Code::unsupported,
                               [] {
                                   default_sampler({{"_class_name", "LMSDiscreteScheduler"}});
                               }),
                    "dpmpp_2m");
}

TEST(Sampler, RefusesWhatItLacks) {
    for (const char* key : {"use_karras_sigmas", "use_lu_lambdas", "thresholding", "use_beta_sigmas"}) {
        expect_contains(message_of(Code::unsupported, [&] { SamplerOptions::from_json({{key, true}}); }), key);
    }
    expect_contains(message_of(Code::unsupported,
                               [] {
                                   SamplerOptions::from_json({{"solver_order", 3}});
                               }),
                    "solver_order");
    expect_contains(message_of(Code::unsupported, [] { make_sampler("heun", {}); }), "flow_euler");
    SamplerOptions flow;
    flow.prediction = Prediction::flow;
    for (const char* name : {"dpmpp_2m", "ddim", "euler"}) {
        expect_contains(message_of(Code::invalid, [&] { make_sampler(name, flow); }), "flow_euler");
    }
    expect_contains(message_of(Code::invalid, [] { make_sampler("flow_euler", {}); }), "epsilon");
    flow.flow.dynamic = true;
    expect_contains(message_of(Code::invalid, [&] { make_sampler("flow_euler", flow); }), "image tokens");
    SamplerOptions none;
    none.steps = 0;
    SamplerOptions odd;
    odd.spacing = "quadratic";
    for (const char* name : {"dpmpp_2m", "ddim", "euler"}) {
        expect_contains(message_of(Code::invalid, [&] { make_sampler(name, none); }), "at least 1");
        expect_contains(message_of(Code::unsupported, [&] { make_sampler(name, odd); }), "quadratic");
    }
    SamplerOptions many;
    many.steps = 1001;
    expect_contains(message_of(Code::invalid, [&] { make_sampler("ddim", many); }), "1001");
}

// A DPM-Solver folder says nothing about clip_sample; latents are not bounded, so DDIM must not clip them.
TEST(Sampler, LatentsAreNotClippedUnlessAskedFor) {
    EXPECT_FALSE(SamplerOptions::from_json({{"_class_name", "DPMSolverMultistepScheduler"}}).clip_sample);
    EXPECT_TRUE(SamplerOptions::from_json({{"clip_sample", true}}).clip_sample);
}

// Whatever the sampler, a model that always knows the noise leads back to x0.
TEST(Sampler, PerfectPredictionsRecoverTheImage) {
    std::vector<float> x0{0.5f, -1.5f, 3}, noise{1, -0.25f, -2};
    for (const std::string& name : sampler_names()) {
        SamplerOptions options;
        options.steps = 10;  // divides the schedule, so that DDIM's steps meet
        options.spacing = "trailing";
        bool flow = name == "flow_euler";
        if (flow) options.prediction = Prediction::flow;
        auto sampler = make_sampler(name, options);
        EXPECT_EQ(sampler->timesteps().front(), flow ? 1000 : 999) << name;
        std::vector<float> x(3), prediction = noise;
        if (flow) {
            flow_interpolate(1, x0, noise, x);
            flow_target(x0, noise, prediction);
        } else if (name == "euler") {
            for (size_t i = 0; i < 3; ++i) x[i] = x0[i] + sampler->initial_scale() * noise[i];
        } else {
            NoiseSchedule(options.noise).add_noise(999, x0, noise, x);
        }
        std::vector<float> clean(3);
        for (size_t i = 0; i < sampler->timesteps().size(); ++i) {
            sampler->estimate_clean(int(i), prediction, x, clean);
            for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(clean[k], x0[k], 2e-3) << name << " at step " << i;
            sampler->step(int(i), prediction, x);
        }
        for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(x[i], x0[i], 2e-3) << name;
    }
}

}  // namespace
}  // namespace stepd
