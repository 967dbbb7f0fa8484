#include "diffusion/sampler.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/config_reader.h"
#include "base/error.h"

namespace stepd {

#define STEPD_SAMPLER(name) std::unique_ptr<Sampler> make_##name(const SamplerOptions& options);
#include "diffusion/samplers.inc"
#undef STEPD_SAMPLER

namespace {

struct Entry {
    const char* name;
    std::unique_ptr<Sampler> (*make)(const SamplerOptions& options);
};

constexpr Entry kSamplers[] = {
#define STEPD_SAMPLER(name) {#name, make_##name},
#include "diffusion/samplers.inc"
#undef STEPD_SAMPLER
};

constexpr const char* kSchedulerFile = "scheduler/scheduler_config.json";

std::string listed_names() {
    std::string names;
    for (const Entry& e : kSamplers) names += std::string(names.empty() ? "" : ", ") + e.name;
    return names;
}

}  // namespace

void Sampler::scale_input(int, std::span<const float> latents, std::span<float> out) const {
    std::copy(latents.begin(), latents.end(), out.begin());
}

SamplerOptions SamplerOptions::from_json(const nlohmann::json& scheduler_config) {
    ConfigReader config(kSchedulerFile, scheduler_config);
    for (const char* key :
         {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "thresholding"}) {
        config.only(key, false);
    }
    config.only("algorithm_type", "dpmsolver++");
    config.only("solver_type", "midpoint");
    config.only("solver_order", 2);
    config.only("interpolation_type", "linear");
    config.only("timestep_type", "discrete");
    SamplerOptions o;
    o.prediction = scheduler_prediction(scheduler_config);
    if (o.prediction == Prediction::flow) {
        config.only("use_flow_sigmas", false);
        o.flow = FlowShift::from_json(scheduler_config);
        return o;
    }
    o.noise = NoiseScheduleOptions::from_json(scheduler_config);
    o.spacing = config.text("timestep_spacing", "");
    o.offset = int64_t(config.number("steps_offset", 0));
    std::string last = config.text("final_sigmas_type", "zero");
    STEPD_REQUIRE(last == "zero" || last == "sigma_min", Code::unsupported, kSchedulerFile,
                  ": final_sigmas_type = ", last, " is not supported, only zero and sigma_min");
    o.final_zero = last == "zero";
    o.lower_order_final = config.flag("lower_order_final", o.lower_order_final);
    o.euler_at_final = config.flag("euler_at_final", o.euler_at_final);
    o.clip_sample = config.flag("clip_sample", o.clip_sample);
    o.clip_range = config.number("clip_sample_range", o.clip_range);
    o.alpha_to_one = config.flag("set_alpha_to_one", o.alpha_to_one);
    return o;
}

std::unique_ptr<Sampler> make_sampler(const std::string& name, const SamplerOptions& options) {
    for (const Entry& e : kSamplers) {
        if (name != e.name) continue;
        STEPD_REQUIRE(options.steps >= 1, Code::invalid, "sampler ", name, ": ", options.steps,
                      " steps, at least 1 is needed");
        return e.make(options);
    }
    STEPD_THROW(Code::unsupported, "sampler \"", name, "\" is unknown; there is: ", listed_names());
}

std::string default_sampler(const nlohmann::json& scheduler_config) {
    static const std::pair<const char*, const char*> classes[] = {{"DPMSolverMultistepScheduler", "dpmpp_2m"},
                                                                  {"DDIMScheduler", "ddim"},
                                                                  {"EulerDiscreteScheduler", "euler"},
                                                                  {"FlowMatchEulerDiscreteScheduler", "flow_euler"}};
    std::string name = ConfigReader(kSchedulerFile, scheduler_config).text("_class_name", "");
    for (const auto& [class_name, sampler] : classes) {
        if (name == class_name) return sampler;
    }
    STEPD_THROW(Code::unsupported, kSchedulerFile, ": _class_name = \"", name,
                "\" has no sampler of its own; name one in the request: ", listed_names());
}

std::vector<std::string> sampler_names() {
    std::vector<std::string> names;
    for (const Entry& e : kSamplers) names.push_back(e.name);
    return names;
}

}  // namespace stepd
