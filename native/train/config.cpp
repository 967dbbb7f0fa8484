#include "train/config.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "diffusion/loss_terms.h"
#include "diffusion/noise_schedule.h"
#include "optim/optimizer.h"

namespace stepd {
namespace {

// The limits are those of Go's Job.Validate (sessions/job): a job that passes there must not fail here, hours later. A
// test of package cgo compares the two.
constexpr int64_t kMostAccumulation = 1 << 20, kMostTextTokens = 4096, kMostRank = 1 << 16;
constexpr double kMostRate = 1e6, kMostClip = std::numeric_limits<float>::max();

void require_range(double value, double low, double high, const char* field) {
    STEPD_REQUIRE(value >= low && value <= high, Code::invalid, field, " = ", value, " is outside [", low, ", ", high,
                  "]");
}

AdapterConfig parse_adapter(JsonObject o) {
    AdapterConfig a;
    o.read("type", a.type);
    o.read("rank", a.rank);
    o.read("alpha", a.alpha);
    o.read("dropout", a.dropout);
    o.read("targets", a.targets);
    o.read("init", a.init);
    o.finish();
    if (a.rank == 0 && !a.init.empty()) return a;  // rank and alpha follow from the file
    require_range(double(a.rank), 1, kMostRank, "config.adapter.rank");
    STEPD_REQUIRE(a.alpha > 0 && a.alpha <= kMostRate, Code::invalid, "config.adapter.alpha = ", a.alpha,
                  " must be above 0 and at most ", kMostRate, "; it is usually the rank");
    STEPD_REQUIRE(a.dropout >= 0 && a.dropout < 1, Code::invalid, "config.adapter.dropout = ", a.dropout,
                  " must be at least 0 and below 1");
    return a;
}

LossConfig parse_loss(JsonObject o) {
    LossConfig l;
    o.read("prediction", l.prediction);
    o.read("type", l.type);
    if (l.type.empty()) l.type = "l2";
    o.read("huber_c", l.huber_c);
    o.read("huber_schedule", l.huber_schedule);
    if (l.huber_schedule.empty()) l.huber_schedule = "snr";
    o.read("snr_gamma", l.snr_gamma);
    o.finish();
    STEPD_REQUIRE(l.type == "l2" || l.type == "huber" || l.type == "smooth_l1", Code::unsupported,
                  "config.loss.type \"", l.type, "\" is not one of l2, huber, smooth_l1");
    if (!l.prediction.empty()) parse_prediction(l.prediction);  // refuses unknown names, as the next line does
    parse_huber_schedule(l.huber_schedule);
    if (l.type != "l2" && l.huber_c == 0) l.huber_c = 0.1;
    require_range(l.huber_c, 0, 1, "config.loss.huber_c");
    require_range(l.snr_gamma, 0, 1e6, "config.loss.snr_gamma");
    return l;
}

NoiseConfig parse_noise(JsonObject o) {
    NoiseConfig n;
    o.read("sample_latents", n.sample_latents);
    o.read("timesteps", n.timesteps);
    o.read("sigmoid_scale", n.sigmoid_scale);
    o.read("shift", n.shift);
    o.read("stratified", n.stratified);
    o.read("offset", n.offset);
    o.read("offset_probability", n.offset_probability);
    o.finish();
    if (n.offset_probability == 0) n.offset_probability = 1;
    if (n.sigmoid_scale == 0) n.sigmoid_scale = 1;
    if (n.shift == 0) n.shift = 1;
    STEPD_REQUIRE(n.timesteps.empty() || n.timesteps == "uniform" || n.timesteps == "sigmoid", Code::unsupported,
                  "config.noise.timesteps \"", n.timesteps, "\" is not one of uniform, sigmoid");
    require_range(n.sigmoid_scale, 1e-3, 1e3, "config.noise.sigmoid_scale");
    require_range(n.shift, 1e-3, 1e3, "config.noise.shift");
    require_range(n.offset, -10, 10, "config.noise.offset");
    require_range(n.offset_probability, 0, 1, "config.noise.offset_probability");
    return n;
}

OptimizerConfig parse_optimizer(JsonObject o) {
    OptimizerConfig c;
    o.read("name", c.name);
    if (c.name.empty()) c.name = OptimizerConfig{}.name;
    o.read("lr", c.lr);
    o.read("params", c.params);
    o.finish();
    require_range(c.lr, 0, kMostRate, "config.optimizer.lr");
    optimizer_settings(find_optimizer(c.name), c.params);  // refuses unknown names and values
    return c;
}

LearningRateSchedule parse_schedule(JsonObject o, double base_lr) {
    LearningRateSchedule s;
    o.read("name", s.name);
    if (s.name.empty()) s.name = "constant";
    o.read("warmup", s.warmup);
    o.read("steps", s.steps);
    o.read("cycles", s.cycles);
    o.read("power", s.power);
    o.read("lr_end", s.lr_end);
    o.finish();
    check(s, base_lr);
    return s;
}

ClipConfig parse_clip(JsonObject o) {
    ClipConfig c;
    o.read("norm", c.norm);
    o.read("value", c.value);
    o.finish();
    require_range(c.norm, 0, kMostClip, "config.clip.norm");
    require_range(c.value, 0, kMostClip, "config.clip.value");
    return c;
}

EmaOptions parse_ema(JsonObject o) {
    EmaOptions e;
    o.read("decay", e.decay);
    o.read("constant", e.constant);
    o.read("warmup", e.warmup);
    o.read("inv_gamma", e.inv_gamma);
    o.read("power", e.power);
    o.finish();
    STEPD_REQUIRE(!e.constant || !e.warmup, Code::invalid,
                  "config.ema.constant and config.ema.warmup contradict each other; set one of them");
    if (e.inv_gamma == 0) e.inv_gamma = EmaOptions{}.inv_gamma;
    if (e.power == 0) e.power = EmaOptions{}.power;
    require_range(e.decay, 0, 1, "config.ema.decay");
    require_range(e.inv_gamma, 1e-6, 1e9, "config.ema.inv_gamma");
    require_range(e.power, 1e-6, 100, "config.ema.power");
    return e;
}

void read_precision(JsonObject& o, SessionConfig& c) {
    std::string dtype = "fp32", weight_dtype;
    o.read("dtype", dtype);
    o.read("weight_dtype", weight_dtype);
    c.dtype = parse_float_dtype(dtype, "config.dtype");
    c.weight_dtype = weight_dtype.empty() ? DType::f32 : parse_float_dtype(weight_dtype, "config.weight_dtype");
}

void read_parts(JsonObject& o, SessionConfig& c) {
    if (o.has("adapter")) c.adapter = parse_adapter(o.object("adapter"));
    if (o.has("loss")) c.loss = parse_loss(o.object("loss"));
    if (o.has("noise")) c.noise = parse_noise(o.object("noise"));
    if (o.has("optimizer")) c.optimizer = parse_optimizer(o.object("optimizer"));
    if (o.has("schedule")) c.schedule = parse_schedule(o.object("schedule"), c.optimizer.lr);
    if (o.has("clip")) c.clip = parse_clip(o.object("clip"));
    if (o.has("ema")) c.ema = parse_ema(o.object("ema"));
}

}  // namespace

DType parse_float_dtype(const std::string& name, const std::string& field) {
    if (name == "fp32") return DType::f32;
    if (name == "bf16") return DType::bf16;
    STEPD_THROW(Code::unsupported, field, " \"", name, "\" is not one of fp32, bf16");
}

SessionConfig parse_config(JsonObject o) {
    SessionConfig c;
    o.read("family", c.family);
    o.read("model", c.model);
    o.require("model", c.model);
    o.read("device", c.device);
    STEPD_REQUIRE(c.device.empty() || c.device == "cpu" || c.device == "auto", Code::unsupported, "config.device \"",
                  c.device, "\": this build has the cpu only");
    o.read("seed", c.seed);
    read_precision(o, c);
    read_parts(o, c);
    o.read("accumulation", c.accumulation);
    if (c.accumulation == 0) c.accumulation = 1;
    require_range(double(c.accumulation), 1, kMostAccumulation, "config.accumulation");
    o.read("accumulate_sum", c.accumulate_sum);
    o.read("caption_dropout", c.caption_dropout);
    require_range(c.caption_dropout, 0, 1, "config.caption_dropout");
    o.read("text_tokens", c.text_tokens);
    require_range(double(c.text_tokens), 1, kMostTextTokens, "config.text_tokens");
    o.read("gradient_checkpointing", c.gradient_checkpointing);
    o.read("memory_budget", c.memory_budget);
    STEPD_REQUIRE(c.memory_budget >= 0, Code::invalid, "config.memory_budget = ", c.memory_budget, " is negative");
    o.read("sample_only", c.sample_only);
    o.finish();
    return c;
}

std::string config_digest(const SessionConfig& c) {
    nlohmann::json j = {{"optimizer", c.optimizer.name},
                        {"weight_dtype", name_of(c.weight_dtype)},
                        {"ema", c.ema.has_value()},
                        {"adapter", nullptr}};
    if (c.adapter) j["adapter"] = {{"type", c.adapter->type}, {"rank", c.adapter->rank}};
    return j.dump();
}

}  // namespace stepd
