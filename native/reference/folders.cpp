// Section A: models as loaded from folders.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/safetensors.h"
#include "models/autoencoder_kl.h"
#include "models/folder.h"
#include "models/t5.h"
#include "reference/reference.h"

namespace stepd::reference {
namespace {

// Loads every weight of a component and returns how many numbers that are.
int64_t load(const Folder& folder, const std::string& component, const Component& model) {
    int64_t count = 0;
    std::vector<float> values;
    SafetensorsReader reader(folder.path_of(component));
    load_weights(reader, model, [&](const ParameterSpec& parameter) {
        values.resize(size_t(numel(parameter.shape)));
        count += numel(parameter.shape);
        return Tensor{values.data(), DType::f32, parameter.shape};
    });
    return count;
}

Result check_component(const std::string& name, const Folder& folder, const std::string& component,
                       const Component& model, int64_t expected) {
    int64_t count = load(folder, component, model);
    Worst worst;
    worst.add(expected < 0 ? 0 : std::abs(double(count - expected)), "number of weights");
    return report(name + " " + component, worst, 0);
}

}  // namespace

Result check_folder(const std::string& root, const nlohmann::json& entry) {
    std::string name = entry.at("name");
    const nlohmann::json& params = entry.at("params");
    Folder folder(std::filesystem::path(root) / params.at("model").get<std::string>());
    Result result;
    for (const char* component : {"text_encoder", "text_encoder_2"}) {
        if (folder.class_of(component) != "T5EncoderModel") continue;
        result += check_component(name, folder, component, *make_t5(folder.config(component)), -1);
    }
    result += check_component(name, folder, "vae", *make_autoencoder_kl(folder.config("vae")), -1);
    for (const Family* family : all_families()) {
        if (!family->detect(folder)) continue;
        auto denoiser = family->make_denoiser(folder.config("transformer"));
        return result += check_component(name, folder, "transformer", *denoiser, params.at("transformer_parameters"));
    }
    return result += report_skip(name + " transformer", "no family for class " + folder.class_of("transformer"));
}

}  // namespace stepd::reference
