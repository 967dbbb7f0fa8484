// Section G: optimizers step by step on given gradients, and learning-rate schedules.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/pool.h"
#include "optim/lr_schedule.h"
#include "optim/sweep.h"
#include "reference/evaluation.h"
#include "reference/reference.h"

namespace stepd::reference {
namespace {

// Parameters, gradients and state of one case, as a Sweep wants them.
struct Problem {
    explicit Problem(const SafetensorsReader& inputs, const OptimizerMethod& method) {
        for (size_t i = 0; inputs.find("p" + std::to_string(i)); i++)
            weights.push_back(floats(inputs.at("p" + std::to_string(i))));
        for (size_t i = 0; i < weights.size(); i++) {
            gradients.emplace_back(weights[i].size());
            TrainedTensor t;
            t.name = "p" + std::to_string(i);
            t.weight = {weights[i].data(), DType::f32, {int64_t(weights[i].size())}};
            t.gradient = gradients.back().data();
            for (size_t s = 0; s < method.state.size(); s++)
                t.state.push_back(state.emplace_back(std::make_unique<float[]>(weights[i].size())).get());
            tensors.push_back(t);
        }
    }
    std::vector<std::vector<float>> weights, gradients;
    std::vector<std::unique_ptr<float[]>> state;
    std::vector<TrainedTensor> tensors;
};

std::map<std::string, double> settings_of(const nlohmann::json& options) {
    std::map<std::string, double> settings;
    settings["beta1"] = options.at("betas").at(0);
    settings["beta2"] = options.at("betas").at(1);
    settings["eps"] = options.at("eps");
    settings["weight_decay"] = options.at("weight_decay");
    return settings;
}

// The case that holds the starting parameters, the gradients and the rates of all others.
nlohmann::json inputs_entry(const std::string& root) {
    const nlohmann::json manifest = read_json(root + "/manifest.json");
    for (const nlohmann::json& entry : manifest.at("cases"))
        if (entry.at("name") == "G/inputs") return entry;
    STEPD_THROW(Code::not_found, root, ": the manifest has no case G/inputs");
}

Result check_adamw(const std::string& root, const nlohmann::json& entry) {
    const nlohmann::json given = inputs_entry(root);
    const SafetensorsReader inputs(find_file(root, given, "inputs.safetensors"));
    const SafetensorsReader expected(find_file(root, entry, "fp32.safetensors"));
    const OptimizerMethod& method = find_optimizer("adamw");
    Problem problem(inputs, method);
    Pool pool;
    const Sweep sweep(method, optimizer_settings(method, settings_of(entry.at("params").at("options"))),
                      problem.tensors, pool);
    const std::vector<double> rates = given.at("params").at("lr");
    Worst worst;
    for (size_t step = 0; step < rates.size(); step++) {
        for (size_t i = 0; i < problem.gradients.size(); i++) {
            const std::string name = "g" + std::to_string(i) + "." + std::to_string(step);
            const std::vector<float> gradient = floats(inputs.at(name));
            std::copy(gradient.begin(), gradient.end(), problem.gradients[i].begin());
        }
        StepOptions options;
        options.step = int64_t(step) + 1;
        options.lr = rates[step];
        sweep.step(options);
        for (size_t i = 0; i < problem.weights.size(); i++) {
            const std::string name = "p" + std::to_string(i) + "." + std::to_string(step + 1);
            worst.add(relative_error(problem.weights[i], expected.at(name)), name);
        }
    }
    return report(entry.at("name"), worst, entry.at("suggested").at("fp32").at("params"));
}

// "cosine_with_restarts|warmup=7|{'num_cycles': 3}"
LearningRateSchedule parse_schedule(const std::string& key, int64_t total) {
    LearningRateSchedule s;
    s.name = key.substr(0, key.find('|'));
    s.warmup = std::stoll(key.substr(key.find("warmup=") + 7));
    s.steps = total;
    auto option = [&](const std::string& name) {
        const size_t at = key.find("'" + name + "': ");
        return at == std::string::npos ? 0.0 : std::stod(key.substr(at + name.size() + 4));
    };
    s.cycles = option("num_cycles");
    s.power = option("power");
    if (s.name == "polynomial") s.lr_end = 1e-7;  // the default of diffusers
    return s;
}

Result check_schedules(const std::string& root, const nlohmann::json& entry) {
    const nlohmann::json data = read_json(find_file(root, entry, "lr.json"));
    const double base = data.at("base");
    Worst worst;
    for (const auto& [key, rates] : data.at("values").items()) {
        const LearningRateSchedule schedule = parse_schedule(key, data.at("total"));
        check(schedule, base);
        for (size_t step = 0; step < rates.size(); step++) {
            const double wanted = rates[step], got = learning_rate(schedule, base, int64_t(step));
            worst.add(std::abs(got - wanted) / std::max(base, std::abs(wanted)), key + " step " + std::to_string(step));
        }
    }
    return report(entry.at("name"), worst, entry.at("suggested").at("relative"));
}

}  // namespace

Result check_optimizers(const std::string& root, const nlohmann::json& entry) {
    const std::string name = entry.at("name");
    if (name == "G/inputs") return report_skip(name, "holds the inputs of the other cases");
    if (name == "G/lr-schedules") return check_schedules(root, entry);
    if (name.starts_with("G/torch-adamw")) return check_adamw(root, entry);
    return report_skip(name, "this optimizer is not built in");
}

}  // namespace stepd::reference
