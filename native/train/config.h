// What decides what a session computes: the structs of Go package sessions/engine, with the same fields and meaning.
// Documentation of each field is there.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/tensor.h"
#include "optim/ema.h"
#include "optim/lr_schedule.h"

namespace stepd {

struct AdapterConfig {
    std::string type = "lora";
    int64_t rank = 0;
    double alpha = 0;
    double dropout = 0;
    std::vector<std::string> targets;
    std::string init;
};

struct LossConfig {
    std::string prediction;  // empty: the folder's scheduler decides
    std::string type = "l2";
    double huber_c = 0.1;
    std::string huber_schedule = "snr";
    double snr_gamma = 0;
};

struct NoiseConfig {
    bool sample_latents = false;
    std::string timesteps;  // "uniform", "sigmoid"; empty: sigmoid for flow matching, else uniform
    double sigmoid_scale = 1;
    double shift = 1;
    bool stratified = false;
    double offset = 0;
    double offset_probability = 1;
};

struct OptimizerConfig {
    std::string name = "adamw";
    double lr = 0;
    std::map<std::string, double> params;
};

struct ClipConfig {
    double norm = 0;
    double value = 0;
};

struct SessionConfig {
    std::string family, model, device = "cpu";
    uint64_t seed = 0;
    DType dtype = DType::f32;         // of activations and of frozen weights
    DType weight_dtype = DType::f32;  // of trained weights
    std::optional<AdapterConfig> adapter;
    LossConfig loss;
    NoiseConfig noise;
    OptimizerConfig optimizer;
    LearningRateSchedule schedule;
    ClipConfig clip;
    std::optional<EmaOptions> ema;
    int64_t accumulation = 1;
    bool accumulate_sum = false;
    double caption_dropout = 0;
    int64_t text_tokens = 0;
    bool gradient_checkpointing = false;
    int64_t memory_budget = 0;
    bool sample_only = false;
};

// Throws Code::invalid or Code::unsupported naming the field.
SessionConfig parse_config(JsonObject object);
// Whatever must agree between the two sides of a resume, as one string; settings that may change freely (learning rate,
// schedule, memory) are left out.
std::string config_digest(const SessionConfig& config);

DType parse_float_dtype(const std::string& name, const std::string& field);  // "fp32", "bf16"

}  // namespace stepd
