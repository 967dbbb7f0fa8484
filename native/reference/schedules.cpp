// Part of section B: noise schedules, timesteps and noise levels of the samplers, and single steps of each.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "diffusion/sampler.h"
#include "reference/evaluation.h"
#include "reference/reference.h"

namespace stepd::reference {

Result check_schedules(const std::string& root, const nlohmann::json& entry);

namespace {

// Options of a scheduler built from its class defaults and `config`, as diffusers builds it.
SamplerOptions options_of(const nlohmann::json& job, const std::string& sampler) {
    SamplerOptions options = SamplerOptions::from_json(job.at("config"));
    if (sampler == "ddim") options.clip_sample = job.at("config").value("clip_sample", true);
    return options;
}

std::string sampler_of(const nlohmann::json& job) { return default_sampler({{"_class_name", job.at("class")}}); }

// Largest difference relative to the largest value.
double table_error(const std::vector<float>& actual, const std::vector<double>& expected) {
    if (actual.size() != expected.size()) return INFINITY;
    double worst = 0, scale = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
        worst = std::max(worst, std::abs(double(actual[i]) - expected[i]));
        scale = std::max(scale, std::abs(expected[i]));
    }
    return scale == 0 ? worst : worst / scale;
}

// Rescaling subtracts nearly equal square roots at the end of the schedule. PyTorch's own square root differs in its
// last bit from machine to machine, which moves these betas by 3e-6.
constexpr double kRescaledBetaTolerance = 1e-5;

void check_tables(const SafetensorsReader& arrays, Worst& worst, Worst& rescaled) {
    for (const char* tag : {"linear", "zero_snr"}) {
        NoiseScheduleOptions options;
        options.rescale_zero_snr = std::string(tag) == "zero_snr";
        NoiseSchedule schedule(options);
        auto compare = [&](const std::string& name, std::span<const float> actual, Worst& into) {
            std::vector<float> expected = floats(arrays.at(name));
            into.add(table_error({actual.begin(), actual.end()}, {expected.begin(), expected.end()}), name);
        };
        compare(std::string("ddpm.") + tag + ".betas", schedule.betas(), options.rescale_zero_snr ? rescaled : worst);
        compare(std::string("ddpm.") + tag + ".alphas_cumprod", schedule.alphas_cumprod(), worst);
    }
}

void check_add_noise(const SafetensorsReader& arrays, Worst& worst) {
    NoiseSchedule schedule{NoiseScheduleOptions{}};
    std::vector<float> x0 = floats(arrays.at("addnoise.x0")), noise = floats(arrays.at("addnoise.eps"));
    std::vector<float> t = floats(arrays.at("addnoise.t")), noisy(x0.size()), velocity(x0.size());
    size_t sample = x0.size() / t.size();
    for (size_t i = 0; i < t.size(); ++i) {
        auto part = [&](std::vector<float>& v) { return std::span(v).subspan(i * sample, sample); };
        schedule.add_noise(int64_t(t[i]), part(x0), part(noise), part(noisy));
        schedule.target(Prediction::v_prediction, int64_t(t[i]), part(x0), part(noise), part(velocity));
    }
    worst.add(relative_error(noisy, arrays.at("addnoise.xt")), "addnoise.xt");
    worst.add(relative_error(velocity, arrays.at("addnoise.v")), "addnoise.v");
}

// Timesteps and noise levels for several numbers of steps; integer timesteps must be equal.
void check_plan(const std::string& tag, const nlohmann::json& job, Worst& exact, Worst& tables) {
    std::string name = sampler_of(job);
    for (const auto& [count, expected] : job.at("timesteps").items()) {
        SamplerOptions options = options_of(job, name);
        options.steps = std::stoi(count);
        auto sampler = make_sampler(name, options);
        bool equal = sampler->timesteps().size() == expected.size();
        for (size_t i = 0; equal && i < expected.size(); ++i) {
            equal = sampler->timesteps()[i] == float(expected[i].get<double>());
        }
        exact.add(equal ? 0 : 1, tag + " " + count + " steps");
        if (!job.at("sigmas").contains(count)) continue;
        tables.add(table_error(sampler->sigmas(), job.at("sigmas").at(count)), tag + " sigmas " + count);
    }
}

// Follows the stored latents with the stored model outputs.
void check_steps(const std::string& tag, Sampler& sampler, const SafetensorsReader& arrays, Worst& worst) {
    std::vector<float> x = floats(arrays.at(tag + ".x.0"));
    for (size_t i = 0; i < sampler.timesteps().size(); ++i) {
        std::string n = std::to_string(i);
        if (const SafeTensor* scaled = arrays.find(tag + ".scaled." + n)) {
            std::vector<float> input(x.size());
            sampler.scale_input(int(i), x, input);
            worst.add(relative_error(input, *scaled), scaled->name);
        }
        sampler.step(int(i), floats(arrays.at(tag + ".model." + n)), x);
        std::string next = tag + ".x." + std::to_string(i + 1);
        worst.add(relative_error(x, arrays.at(next)), next);
    }
}

void check_job(const std::string& tag, const nlohmann::json& job, const SafetensorsReader& arrays, Worst& exact,
               Worst& tables, Worst& steps) {
    check_plan(tag, job, exact, tables);
    std::string name = sampler_of(job);
    SamplerOptions options = options_of(job, name);
    options.steps = job.at("steps");
    auto sampler = make_sampler(name, options);
    double scale = job.at("init_noise_sigma");
    tables.add(std::abs(double(sampler->initial_scale()) - scale) / scale, tag + " init_noise_sigma");
    check_steps(tag, *sampler, arrays, steps);
}

SamplerOptions flow_options(const FlowShift& shift, int steps, int64_t tokens, bool by_count) {
    SamplerOptions options;
    options.prediction = Prediction::flow;
    options.flow = shift;
    options.steps = steps;
    options.image_tokens = tokens;
    options.sigmas_by_count = by_count;
    return options;
}

void check_flow(const nlohmann::json& plan, Worst& tables) {
    FlowShift dynamic = FlowShift::from_json(plan.at("flow_dynamic").at("config"));
    for (const nlohmann::json& run : plan.at("flow_dynamic").at("runs")) {
        int n = run.at("n");
        int64_t tokens = run.at("seq");
        auto sampler = make_sampler("flow_euler", flow_options(dynamic, n, tokens, false));
        std::string where = detail::concat("flow_dynamic ", n, " steps, ", tokens, " tokens");
        tables.add(std::abs(dynamic.mu(tokens) - run.at("mu").get<double>()), where + " mu");
        tables.add(table_error(sampler->sigmas(), run.at("sigmas")), where + " sigmas");
        tables.add(table_error(sampler->timesteps(), run.at("timesteps")), where + " timesteps");
    }
    for (const nlohmann::json& run : plan.at("flow_static").at("runs")) {
        int n = run.at("n");
        FlowShift shift;
        shift.shift = run.at("shift");
        for (bool by_count : {false, true}) {
            auto sampler = make_sampler("flow_euler", flow_options(shift, n, 0, by_count));
            const char* key = by_count ? "sigmas_set_by_count" : "sigmas";
            tables.add(table_error(sampler->sigmas(), run.at(key)), detail::concat("flow_static ", n, " ", key));
        }
    }
}

// Six steps with mu = 0.7, as the reference takes them: the number of tokens that gives this mu is not a whole number.
void check_flow_steps(const nlohmann::json& plan, const SafetensorsReader& arrays, Worst& steps) {
    FlowShift shift = FlowShift::from_json(plan.at("flow_dynamic").at("config"));
    shift.base_shift = shift.max_shift = 0.7;
    auto sampler = make_sampler("flow_euler", flow_options(shift, 6, 1, false));
    check_steps("flow.f32", *sampler, arrays, steps);
}

}  // namespace

Result check_schedules(const std::string& root, const nlohmann::json& entry) {
    SafetensorsReader arrays(find_file(root, entry, "arrays.safetensors"));
    nlohmann::json plan = read_json(find_file(root, entry, "plan.json"));
    Worst exact, tables, rescaled, steps;
    check_tables(arrays, tables, rescaled);
    check_add_noise(arrays, steps);
    for (const auto& [tag, job] : plan.items()) {
        if (job.contains("class")) check_job(tag, job, arrays, exact, tables, steps);
    }
    check_flow(plan, tables);
    check_flow_steps(plan, arrays, steps);
    std::string name = entry.at("name");
    const nlohmann::json& bounds = entry.at("suggested").at("fp32");
    Result result = report(name + " timesteps", exact, 0);
    result += report(name + " tables", tables, bounds.at("tables"));
    result += report(name + " rescaled betas", rescaled, kRescaledBetaTolerance);
    return result += report(name + " steps", steps, bounds.at("steps"));
}

}  // namespace stepd::reference
