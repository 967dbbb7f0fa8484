#include "models/family.h"

#include <algorithm>
#include <cmath>

#include "io/random.h"
#include "models/folder.h"

namespace stepd {

#define STEPD_FAMILY(name) extern const Family name##_family;
#include "models/families.inc"
#undef STEPD_FAMILY

bool Component::ignores(const std::string&) const { return false; }

void Component::initialise(const ParameterSpec& parameter, Generator& generator, float* out) const {
    const int64_t count = numel(parameter.shape);
    if (parameter.shape.size() < 2) {
        std::fill_n(out, count, parameter.name.ends_with(".weight") ? 1.0f : 0.0f);
        return;
    }
    generator.randn(out, count);
    const float scale = float(1 / std::sqrt(double(count / parameter.shape[0])));
    for (int64_t i = 0; i < count; i++) out[i] *= scale;
}

std::span<const Family* const> all_families() {
    static const Family* const families[] = {
#define STEPD_FAMILY(name) &name##_family,
#include "models/families.inc"
#undef STEPD_FAMILY
    };
    return families;
}

const Family& find_family(const std::string& name, const Folder* folder) {
    std::string known;
    for (const Family* family : all_families()) {
        if (name.empty() ? folder && family->detect(*folder) : name == family->name) return *family;
        known += std::string(known.empty() ? "" : ", ") + family->name;
    }
    STEPD_REQUIRE(name.empty(), Code::unsupported, "family ", name, " is unknown; there is: ", known);
    STEPD_REQUIRE(folder, Code::invalid, "no family and no model folder to detect it from");
    STEPD_THROW(Code::unsupported, folder->root().string(), ": no family has a transformer of class \"",
                folder->class_of("transformer"), "\"; there is: ", known);
}

std::vector<LinearModule> adapter_modules(const Denoiser& denoiser, const std::vector<std::string>& targets) {
    std::vector<bool> used(targets.size(), false);
    std::vector<LinearModule> out;
    for (const LinearModule& module : denoiser.linear_modules()) {
        bool chosen = false;
        for (size_t i = 0; i < targets.size(); ++i) {
            bool match = module.path == targets[i] || module.path.ends_with("." + targets[i]);
            chosen = chosen || match;
            used[i] = used[i] || match;
        }
        if (chosen) out.push_back(module);
    }
    for (size_t i = 0; i < targets.size(); ++i) {
        STEPD_REQUIRE(used[i], Code::invalid, "adapter.targets: no linear module is named ", targets[i]);
    }
    return out;
}

}  // namespace stepd
