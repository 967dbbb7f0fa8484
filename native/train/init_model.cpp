#include "train/init_model.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "io/random.h"
#include "models/folder.h"
#include "train/export.h"
#include "train/parameters.h"
#include "train/slab.h"

namespace stepd {

namespace {

// A component of a family, and the stem of its weight files.
struct Part {
    std::unique_ptr<Component> component;
    const char* stem;
};

Part make_part(const Family& family, const std::string& name, const nlohmann::json& config) {
    if (name == "transformer") return {family.make_denoiser(config), "diffusion_pytorch_model"};
    if (name == "text_encoder") return {family.make_text_encoder(config), "model"};
    STEPD_REQUIRE(name == "vae", Code::invalid, "component: ", name, " is not one of transformer, text_encoder, vae");
    return {family.make_autoencoder(config), "diffusion_pytorch_model"};
}

}  // namespace

void init_model(const InitModelRequest& r) {
    STEPD_REQUIRE(!r.config.empty() && !r.out.empty(), Code::invalid, "init_model needs config and out");
    const SafeType type = parse_export_dtype(r.dtype, "dtype");
    const Part part = make_part(find_family(r.family, nullptr), r.component, read_json(r.config));
    const std::vector<ParameterSpec>& parameters = part.component->parameters();
    std::vector<TensorSpec> specs;
    for (const ParameterSpec& p : parameters)
        specs.push_back({p.shape, type == SafeType::bf16 ? DType::bf16 : DType::f32});
    const Slab weights(specs);
    Generator generator(r.seed);
    std::vector<SafeTensorSource> sources;
    std::vector<float> values;
    for (size_t i = 0; i < weights.size(); i++) {
        values.resize(size_t(numel(parameters[i].shape)));
        part.component->initialise(parameters[i], generator, values.data());
        copy_values(Tensor{values.data(), DType::f32, parameters[i].shape}, weights[i]);
        sources.push_back(weight_source(parameters[i].name, weights[i], type));
    }
    std::error_code error;
    std::filesystem::create_directories(r.out, error);
    STEPD_REQUIRE(!error, Code::io, "cannot create ", r.out, ": ", error.message());
    write_sharded_safetensors(r.out, part.stem, sources, kMaxShardBytes);
    const MappedFile config(r.config);
    AtomicFile copy(r.out + "/config.json");
    copy.write(config.bytes());
    copy.commit();
}

}  // namespace stepd
