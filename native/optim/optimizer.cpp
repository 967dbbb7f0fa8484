#include "optim/optimizer.h"

#include "backend/cpu.h"
#include "base/error.h"

namespace stepd {

const OptimKernels& optim_kernels() {
    const std::string isa = cpu_isa();
    if (isa == "amx") return *stepd_optim_kernels_amx();
    if (isa == "avx512") return *stepd_optim_kernels_avx512();
    return *stepd_optim_kernels_avx2();
}

const OptimizerMethod& find_optimizer(const std::string& name) {
    std::string known;
    for (const OptimizerMethod* method : optim_kernels().methods) {
        if (name == method->name) return *method;
        known += (known.empty() ? "" : ", ") + std::string(method->name);
    }
    STEPD_THROW(Code::unsupported, "optimizer.name \"", name, "\" is not one of ", known);
}

std::vector<double> optimizer_settings(const OptimizerMethod& method, const std::map<std::string, double>& params) {
    std::vector<double> values;
    std::string known;
    for (const OptimizerSetting& setting : method.settings) {
        values.push_back(setting.value);
        known += (known.empty() ? "" : ", ") + std::string(setting.name);
    }
    for (const auto& [name, value] : params) {
        size_t i = 0;
        while (i < method.settings.size() && name != method.settings[i].name) i++;
        STEPD_REQUIRE(i < method.settings.size(), Code::invalid, "optimizer.params.", name, ": ", method.name,
                      " has no such setting; it has ", known);
        const OptimizerSetting& setting = method.settings[i];
        STEPD_REQUIRE(value >= setting.low && value < setting.high, Code::invalid, "optimizer.params.", name, " = ",
                      value, " is outside [", setting.low, ", ", setting.high, ")");
        values[i] = value;
    }
    return values;
}

}  // namespace stepd
